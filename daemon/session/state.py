"""What other programs are told of a session, over HTTP as over the frame bus."""

from __future__ import annotations

from typing import Any

from driftcam.daemon.changes import parameters_json
from driftcam.daemon.session.session import Session
from driftcam.engines.api.shift import moved, shifted


def state(session: Session) -> dict[str, Any]:
    """Plain values for JSON; who tells it may have more to say."""
    parameters, modulation = session.control.parameters, session.modulation
    shift = {**dict.fromkeys(modulation.settings.active, 0.0), **modulation.shift}
    there = shifted(parameters, shift) if shift else parameters
    return {
        "version": session.control.version,
        "undo": session.control.history.past,
        "redo": session.control.history.future,
        "parameters": parameters_json(parameters),
        "modulation": modulation.settings.to_dict(),
        "modulated": {name: getattr(there, name) for name in sorted(moved(shift))},
        **session.statistics(),
    }
