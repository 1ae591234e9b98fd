"""Engines in processes of this machine; the second and later ones are forked where a fork server is ready."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from driftcam.daemon.engine.fork_server import ForkServer
from driftcam.daemon.engine.link import EngineGone
from driftcam.daemon.engine.process import EngineProcess


class LocalEngines:
    """See `Engines`.

    Args:
        command: of an engine process (`process.worker_command`).
        spare: seconds of calm after which a fork server is started; None for none.
    """

    def __init__(self, command: Sequence[str], spare: float | None = None) -> None:
        self._command, self._spare = command, spare
        self.fork_server: ForkServer | None = None

    async def next(self) -> EngineProcess:
        if self.fork_server is not None and self.fork_server.ready:
            with contextlib.suppress(EngineGone):
                return await self.fork_server.fork()
            await self.close()
        return await EngineProcess.spawn(self._command)

    async def stand_by(self, calm: Callable[[], bool]) -> None:
        """One that ended is replaced, later each time."""
        wait = self._spare
        while wait is not None:
            await asyncio.sleep(wait)
            if self.fork_server is not None and not self.fork_server.alive:
                await self.close()
                wait *= 2
            elif self.fork_server is None and calm():
                self.fork_server = await ForkServer.spawn(self._command)

    async def close(self) -> None:
        server, self.fork_server = self.fork_server, None
        if server is not None:
            await server.close()
