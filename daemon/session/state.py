"""What other programs are told of a session, over HTTP as over the frame bus."""

from __future__ import annotations

from typing import Any

from driftcam.daemon.changes import parameters_json
from driftcam.daemon.session.session import Session


def state(session: Session) -> dict[str, Any]:
    """Plain values for JSON; who tells it may have more to say."""
    return {
        "version": session.control.version,
        "parameters": parameters_json(session.control.parameters),
        **session.statistics(),
    }
