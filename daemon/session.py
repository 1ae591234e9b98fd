"""One source, one engine, any number of sinks: moves the frames and counts them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from daemon.control import Control
from daemon.errors import RunError
from daemon.frames import Picture, Result, cover
from daemon.measure import Rate, Samples
from daemon.sinks import Sink
from daemon.sources import Source
from daemon.supervisor import Supervisor

STOP_PATIENCE = 5.0


class Session:
    """Runs until the source ends, `frames` were delivered, it is stopped, or no sink is left.

    `live`: the newest frame counts and late ones are dropped. Otherwise every frame of the source reaches every
    sink, and whoever is slow makes the source wait.
    """

    def __init__(
        self,
        source: Source,
        supervisor: Supervisor,
        sinks: Sequence[Sink],
        control: Control,
        *,
        live: bool,
        frames: int | None,
        notify: Callable[[str], None],
        on_result: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self._source, self._supervisor, self._sinks, self._control = source, supervisor, list(sinks), control
        self._live, self._limit, self._notify, self._on_result = live, frames, notify, on_result
        self._stop_source = threading.Event()
        self._failure: RunError | None = None
        self.delivered = 0
        self.sink_dropped = 0
        self.first: float | None = None
        self.last = 0.0
        self.rate = Rate()
        self.latency, self.engine_ms, self.source_ms = Samples(), Samples(), Samples()

    async def run(self, stop: asyncio.Event) -> None:
        """Raises `RunError` when a sink or the engine failed for good, after everything else was finished."""
        alive = asyncio.create_task(self._supervisor.keep_alive())
        stopping = asyncio.create_task(stop.wait())
        feeding = asyncio.create_task(self._feed())
        delivering = asyncio.create_task(self._deliver())
        everything: list[asyncio.Task] = [alive, stopping, delivering, feeding]
        try:
            await self._first_of(*everything)
            self._stop_source.set()
            if stopping.done() and not delivering.done() and not alive.done():
                # What is on its way still arrives: a clip's file ends with the last frame that was read.
                await asyncio.wait([delivering, alive], timeout=STOP_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            for task in (alive, delivering, feeding):
                if task.done() and (error := task.exception()) is not None:
                    raise error
        finally:
            self._stop_source.set()
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    @staticmethod
    async def _first_of(*tasks: asyncio.Task) -> None:
        """Until one of them ends; that the source has ended well (the last task) is not yet the end."""
        feeding = tasks[-1]
        waiting = set(tasks)
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if done != {feeding} or feeding.exception() is not None:
                return

    async def _feed(self) -> None:
        count = 0
        async with contextlib.aclosing(self._pictures()) as pictures:
            async for picture in pictures:
                if self._live:
                    self._supervisor.offer(picture)
                else:
                    await self._supervisor.submit(picture)
                    count += 1
                    if count == self._limit:
                        break
        await self._supervisor.finish()

    async def _pictures(self) -> AsyncGenerator[Picture, None]:
        """Frames at the model's size, read and scaled in a thread of their own."""
        loop = asyncio.get_running_loop()
        frames = iter(self._source.frames(self._stop_source, paced=self._live))
        thread = ThreadPoolExecutor(1, thread_name_prefix="driftcam-source")
        try:
            while (picture := await loop.run_in_executor(thread, self._next, frames)) is not None:
                yield picture
        finally:
            self._stop_source.set()
            closing = getattr(frames, "close", lambda: None)
            await asyncio.shield(loop.run_in_executor(thread, closing))
            thread.shutdown(wait=False)

    def _next(self, frames: Iterator[Picture]) -> Picture | None:
        """In the thread."""
        start = time.perf_counter()
        picture = next(frames, None)
        if picture is None:
            return None
        parameters = self._control.parameters
        image = cover(picture.image, parameters.width, parameters.height)
        self.source_ms.add((time.perf_counter() - start) * 1000)
        return Picture(image, picture.pts, picture.captured)

    async def _deliver(self) -> None:
        async for result in self._supervisor.results():
            self._count(result)
            for sink in list(self._sinks):
                await self._give(sink, result)
            self._on_result(self)
            if not self._sinks or self.delivered == self._limit:
                return

    async def _give(self, sink: Sink, result: Result) -> None:
        try:
            if not self._live:
                await sink.room()
            if not sink.offer(result):
                self.sink_dropped += 1
        except RunError as error:
            self._failure = self._failure or error
            self._sinks.remove(sink)
            if self._sinks:
                self._notify(f"{error}; the stream goes on without it")

    def _count(self, result: Result) -> None:
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        self.last = now
        self.delivered += 1
        self.rate.add(now)
        self.latency.add((result.arrived - result.source.captured) / 1e6)
        self.engine_ms.add(result.process_ms)

    @property
    def fps(self) -> float:
        """Over the whole run."""
        if self.delivered < 2 or self.first is None:
            return 0.0
        return (self.delivered - 1) / max(self.last - self.first, 1e-9)
