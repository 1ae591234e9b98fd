"""Looks after a running daemon four times a second: does it move, how late is its loop, what is systemd to know."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from driftcam.daemon import background
from driftcam.daemon.service.metrics import Metrics
from driftcam.daemon.service.systemd import Systemd
from driftcam.daemon.session.core import Core

EVERY = 0.25
log = logging.getLogger("driftcam")


@dataclass
class Progress:
    """Whether a session moves: results are delivered, or there is none to deliver. Pure.

    A session without frames is idle, not stuck; one whose results wait while none is delivered is stuck.
    """

    delivered: int = -1

    def made(self, delivered: int, waiting: int) -> bool:
        """Since it was asked last."""
        moved = delivered != self.delivered
        self.delivered = delivered
        return moved or waiting == 0


@dataclass
class Pulse:
    """Runs from `start` to `close`. systemd hears of progress only, so that it restarts a daemon that is stuck.

    Attributes:
        trouble: which session is stuck, or empty.
    """

    core: Core
    metrics: Metrics
    systemd: Systemd
    trouble: str = ""
    _progress: dict[str, Progress] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None
    _engine: str = ""

    def start(self) -> None:
        self._task = background.keep(self._beat, "the pulse")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            due = time.monotonic() + EVERY
            await asyncio.sleep(EVERY)
            self.metrics.lag.observe(max(0.0, time.monotonic() - due))
            self.metrics.follow()
            self.trouble = self._look()
            if not self.trouble:
                self.systemd.alive()
            self.systemd.status(self._status())
            self._tell_engine()

    def _tell_engine(self) -> None:
        """Each time that its state is another one."""
        supervisor = self.core.supervisor
        if supervisor.state != self._engine:
            self._engine = supervisor.state
            log.info("the engine is %s%s", supervisor.state, f" ({supervisor.backend})" if supervisor.backend else "")

    def _look(self) -> str:
        stuck = []
        for session in self.core.sessions:
            progress = self._progress.setdefault(session.name, Progress())
            if not progress.made(session.delivered, session.queues()["delivery"]):
                stuck.append(session.name)
        for name in [name for name in self._progress if self.core.sessions.get(name) is None]:
            del self._progress[name]
        return f"results of {', '.join(stuck)} wait and are not delivered" if stuck else ""

    def _status(self) -> str:
        sessions = list(self.core.sessions)
        if not sessions:
            return f"engine {self.core.supervisor.state}"
        session = sessions[0]
        rate = round(session.rate.value(time.monotonic()))
        running = f"{rate} fps" if rate else "no frames"
        return f"engine {self.core.supervisor.state}, {session.source or 'no source'}, {running}"
