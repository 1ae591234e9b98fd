"""Sessions as the streams that WebRTC peers join."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from driftcam.daemon import background
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.session.ingest import Lease
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.sessions import Sessions
from driftcam.daemon.sound import Chunk, Sound
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.sizes import model_size
from driftcam.webrtc.operation import Refused
from driftcam.webrtc.stream import Listener, Participant

ALIKE = 0.05  # shapes that differ by less are cropped instead


class PeerStreams:
    """Peers join the sessions there are; who publishes to a name that there is not opens a session.

    Such a session ends when its last peer has left. `defaults` gives its first parameters.
    """

    def __init__(self, sessions: Sessions, defaults: Callable[[], Parameters] = Parameters) -> None:
        self._sessions, self._defaults = sessions, defaults
        self._members: dict[str, int] = {}  # of the sessions that were opened here

    async def join(self, name: str, *, publishes: bool) -> Participant:
        """Raises `Refused`."""
        session = self._sessions.get(name)
        if session is None:
            if not publishes:
                raise Refused(404, f"there is no session {name!r}; publish to it first")
            try:
                session = self._sessions.open(name, self._defaults())
            except ParameterError as error:
                raise Refused(503, str(error), retry_after=10) from None
            self._members[name] = 0
        place = SessionParticipant(session, self._left)
        if publishes:
            place.check()
        if name in self._members:
            self._members[name] += 1
        return place

    async def _left(self, session: Session) -> None:
        if session.name not in self._members:
            return
        self._members[session.name] -= 1
        if not self._members[session.name]:
            del self._members[session.name]
            await self._sessions.close(session.name)


class SessionParticipant:
    """One peer's place."""

    def __init__(self, session: Session, on_leave: Callable[[Session], Awaitable[None]]) -> None:
        self._session, self._on_leave = session, on_leave
        self._lease: Lease | None = None
        self._shape = (0, 0)  # of the newest frame
        self._following: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Whether it may give frames. Raises `Refused`."""
        try:
            self._session.ingest.check_guest()
        except ParameterError as error:
            raise Refused(409, str(error)) from None

    def offer(self, image: np.ndarray, captured: int) -> bool:
        """From its first frame on, its frames count before those of the session's own source and of other peers."""
        if self._lease is None:  # not before: an offer that comes to nothing takes nobody's place
            try:
                self._lease = self._session.ingest.let_in("a camera")
            except ParameterError:
                return False
        if self._lease.on_air and not self._session.source:
            self._follow_shape(image.shape[1], image.shape[0])
        return self._lease.offer(Picture(image, captured, captured))

    def hear(self, samples: np.ndarray, captured: int) -> None:
        """For recordings: they look for sound when they start."""
        if self._lease is None or not self._lease.on_air:
            return
        if self._lease.sound is None:
            self._lease.sound = Sound()
        self._lease.sound.write(Chunk(samples, captured))

    def listen(self, listener: Listener) -> Callable[[], None]:
        viewer = Viewer(listener)
        self._session.add_sink(viewer)
        return lambda: self._session.remove_sink(viewer)

    async def leave(self) -> None:
        if self._following is not None:
            self._following.cancel()
        if self._lease is not None:
            self._lease.end()
        await self._on_leave(self._session)

    def _follow_shape(self, width: int, height: int) -> None:
        if self._shape != (width, height) and self._following is None:
            self._shape = width, height
            self._following = background.start(self._reshape(width, height), "following a camera's shape")

    async def _reshape(self, width: int, height: int) -> None:
        """Give the model's picture the shape of the camera's, at its area: nothing is cut off."""
        have = self._session.control.parameters
        try:
            if abs(width / height * have.height / have.width - 1) > ALIKE:
                sides = model_size(width, height, have.width * have.height)
                await self._session.control.change({"width": sides[0], "height": sides[1]})
        except ParameterError:
            pass  # the picture is cropped then
        finally:
            self._following = None


class Viewer:
    """The sink through which a peer looks at a session."""

    name = "browser"

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        self._listener(result.image, result.source.captured)
        return True

    async def close(self) -> None:
        return
