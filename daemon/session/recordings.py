"""The recordings that are running, at most one a session."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from driftcam.daemon.errors import RunError
from driftcam.daemon.session.session import Session
from driftcam.daemon.sinks.recorder import Recorder

FPS_RANGE = (5, 60)
USUAL_FPS = 30


class Conflict(RunError):
    """It does not fit what is going on: a second recording, or none to stop."""


class Recordings:
    """Starts, stops and watches.

    Attributes:
        folder, name: of the next recording.
    """

    def __init__(self, folder: Path, name: str = "driftcam") -> None:
        self.folder, self.name = folder, name
        self._running: dict[str, tuple[Session, Recorder]] = {}
        self._starting: set[str] = set()

    async def start(self, session: Session) -> dict[str, Any]:
        """Raises `ParameterError` where the file cannot be made, `Conflict` while one is running."""
        await self._end_failed(session)
        if session.name in self._running or session.name in self._starting:
            raise Conflict(f"recording: {session.name!r} is being recorded already; stop that first")
        self._starting.add(session.name)
        try:
            fps = round(session.statistics()["fps"]) or USUAL_FPS
            low, high = FPS_RANGE
            rate = float(min(max(fps, low), high))
            recorder = await asyncio.to_thread(Recorder, self.folder, self.name, rate, sound=lambda: session.sound)
        finally:
            self._starting.discard(session.name)
        self._running[session.name] = session, recorder
        session.add_sink(recorder)
        return recorder.status()

    async def stop(self, session: Session) -> dict[str, Any]:
        """The file is complete then. Raises `Conflict` where there is none, `RunError` where the disk failed."""
        running, recorder = self._running.pop(session.name, (None, None))
        if running is None or recorder is None:
            raise Conflict(f"recording: {session.name!r} is not being recorded; start that first")
        running.remove_sink(recorder)
        await recorder.close()
        return recorder.status()

    def status(self, session: Session) -> dict[str, Any] | None:
        """Of the running recording."""
        running, recorder = self._running.get(session.name, (None, None))
        if running is None or recorder is None or recorder not in running.sinks:
            return None
        return recorder.status()

    async def close(self) -> None:
        """Finish all of them. Raises the first `RunError`, after that."""
        failure: RunError | None = None
        for session, _ in list(self._running.values()):
            try:
                await self.stop(session)
            except RunError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _end_failed(self, session: Session) -> None:
        """A recorder that the session threw out (a full disk) makes room for the next."""
        running, recorder = self._running.get(session.name, (None, None))
        if running is not None and recorder is not None and (recorder not in running.sinks or running is not session):
            with contextlib.suppress(RunError):  # the session has told it when it happened
                await self.stop(session)
