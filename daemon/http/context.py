"""What the resources of the API work on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from driftcam.daemon.frames import Result
from driftcam.daemon.http.limits import ConcurrencyLimit
from driftcam.daemon.http.preview import Preview
from driftcam.daemon.midi_message import Control
from driftcam.daemon.service.logs import Recent
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.presets import Presets
from driftcam.daemon.session.recordings import Recordings
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.sessions import DEFAULT
from driftcam.daemon.session.state import state
from driftcam.engines.api import ParameterError
from driftcam.webrtc.operation import Refused

VIEWERS = 16
PICTURE_TIMEOUT = 2.0  # seconds


class Midi(Protocol):
    """The door for MIDI controllers; see `daemon.midi.server`."""

    async def state(self) -> dict[str, Any]: ...

    def learn(self, target: str) -> None: ...

    async def forget(self, control: Control) -> None: ...


async def no_metrics() -> bytes:
    """Where nobody counts."""
    return b""


@dataclass
class Context:
    """Everything that a running daemon lets the API see and do.

    Attributes:
        core: engine and sessions.
        unready: why the daemon is not ready for work, or an empty text.
        expose: all numbers in Prometheus' text format.
        viewers: places for open streams and sockets.
        midi: None where no controllers are listened to.
    """

    core: Core
    presets: Presets
    recordings: Recordings
    recent: Recent
    unready: Callable[[], str] = lambda: ""
    expose: Callable[[], Awaitable[bytes]] = no_metrics
    viewers: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(VIEWERS))
    midi: Midi | None = None

    def __post_init__(self) -> None:
        self._previews: dict[str, tuple[Session, Preview]] = {}

    def session(self, request: web.Request) -> Session:
        """The one that `?session=` names, or the live one. Raises `Refused`."""
        name = request.query.get("session", DEFAULT)
        session = self.core.sessions.get(name)
        if session is None:
            names = ", ".join(each.name for each in self.core.sessions) or "there is none"
            raise Refused(404, f"session: there is no {name!r}; choose from: {names}", field="session")
        return session

    def preview(self, session: Session) -> Preview:
        """Its pictures; a session has a preview as soon as somebody asks."""
        known, preview = self._previews.get(session.name, (None, None))
        if known is not session or preview is None:
            preview = Preview()
            self._previews[session.name] = session, preview
            session.listen(preview.show, preview.show_placeholder)
            session.ended.add_done_callback(lambda _: self._forget(session, preview))
        return preview

    async def newest(self, session: Session, what: str) -> Result:
        """Its newest result. Raises `Refused` for `what` where none comes soon."""
        preview = self.preview(session)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PICTURE_TIMEOUT):
                result = await preview.after(0)
                while result is not None and result.sequence < 0:  # a placeholder
                    result = await preview.after(result.sequence)
                if result is not None:
                    return result
        raise Refused(409, f"{what}: there is no picture yet; start a source first", field=what)

    def _forget(self, session: Session, preview: Preview) -> None:
        """The session has ended."""
        preview.end()
        if self._previews.get(session.name) == (session, preview):
            del self._previews[session.name]

    def state(self, session: Session) -> dict[str, Any]:
        """What the page shows of a session."""
        return {
            **state(session),
            "backend": self.core.supervisor.backend,
            "notices": list(self.core.notices),
            "recording": self.recordings.status(session),
        }


def no_vector(changes: object) -> None:
    """Raises `ParameterError` for the numbers of a style, which are the engine's business."""
    if isinstance(changes, dict) and changes.get("style_vector") is not None:
        raise ParameterError("style_vector", "…", "send a picture to /api/style-picture")
