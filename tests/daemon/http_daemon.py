"""A real core with the stand-in engine and its HTTP server, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer

from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.engine.state import Timeouts
from driftcam.daemon.http.context import Context
from driftcam.daemon.http.limits import ConcurrencyLimit
from driftcam.daemon.http.server import HttpServer, Security
from driftcam.daemon.service.logs import Recent
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.feed import feed
from driftcam.daemon.session.presets import Presets
from driftcam.daemon.session.recordings import Recordings
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.sessions import DEFAULT
from driftcam.daemon.sources.pattern import PatternSource
from driftcam.engines.api import Parameters
from tests.daemon import standin
from tests.daemon.conftest import IMPATIENT

START = Parameters(width=128, height=64, steps=1)
ALL_YOU_WANT = Security(requests_per_second=10_000)


@dataclass
class Daemon:
    """What runs, and the lines that it has told people."""

    core: Core
    context: Context
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def session(self) -> Session:
        session = self.core.sessions.get(DEFAULT)
        assert session is not None
        return session

    @contextlib.asynccontextmanager
    async def client(self, security: Security = ALL_YOU_WANT, viewers: int = 16) -> AsyncIterator[TestClient]:
        """Of a server of its own."""
        self.context.viewers = ConcurrencyLimit(viewers)
        async with TestClient(TestServer(HttpServer(self.context, security).app)) as client:
            yield client

    @contextlib.asynccontextmanager
    async def frames(self) -> AsyncIterator[None]:
        """The test pattern comes in; the first result of it is there."""
        before = self.session.delivered  # by other tests
        with self.session.ingest.claim("test", yields=True) as lease:
            feeding = asyncio.create_task(feed(PatternSource(), self.session, lease, threading.Event()))
            try:
                await until(lambda: self.session.delivered > before)
                yield
            finally:
                feeding.cancel()  # before its end, which would end the session too
                await asyncio.gather(feeding, return_exceptions=True)
                # What is still in flight would be shown in the middle of the next test.
                await until(lambda: not any(self.session.queues().values()))


@contextlib.asynccontextmanager
async def daemon_in(
    folder: Path, engine: str | None = standin.NAME, timeouts: Timeouts = IMPATIENT
) -> AsyncIterator[Daemon]:
    """With one session that gets no frames yet."""
    lines: list[str] = []
    core = Core(worker_command(engine, None), notify=lines.append, timeouts=timeouts)
    recordings = Recordings(folder / "recordings", "test")
    context = Context(core, Presets(folder / "presets"), recordings, Recent())
    try:
        session = core.sessions.open(DEFAULT, START)
        await session.opened()
        yield Daemon(core, context, folder, lines)
    finally:
        await recordings.close()
        await core.close()


async def until(condition: Callable[[], object], timeout: float = 30.0) -> None:
    """Wait for `condition`."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)
