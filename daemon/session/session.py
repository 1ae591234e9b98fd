"""One source, one stream through the engine, any number of sinks: moves the frames and counts them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from driftcam.daemon.engine.stream import Stream
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture, Result, cover
from driftcam.daemon.measure import Rate, Samples
from driftcam.daemon.session.control import Control
from driftcam.daemon.session.placeholder import placeholder
from driftcam.daemon.session.waiting import why_no_picture
from driftcam.daemon.sinks import ShowsPlaceholders, Sink
from driftcam.daemon.sound import Sound
from driftcam.engines.api import ParameterError, Parameters

WATCH_EVERY, PLACEHOLDER_TICKS = 0.25, 4  # seconds; a sink gets the same placeholder every so many
FAR = 60 * 10**9  # ns between a frame's capture and its arrival that cannot be


class Session:
    """Opened by `Sessions.open`; frames come by `offer` (live) or `submit` (every frame counts).

    Its results reach every sink. In a live session a slow sink loses results, otherwise it makes the source wait.

    Attributes:
        name: letters, digits and `-`.
        control: the parameters and who wants to know of their changes.
        source: who gives it frames, or empty.
        guest: whose frames take the place of the source's for a while, or None.
        closed: nothing comes any more.
        trouble: why there are no results, as the placeholder says it, or empty.
        failure: of the first sink that failed.
        sound: of the source, for sinks that carry sound; None where it has none.
    """

    def __init__(
        self,
        name: str,
        parameters: Parameters,
        stream: Stream,
        *,
        notify: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name, self._stream, self._notify = name, stream, notify
        self.control = Control(parameters, stream)
        stream.on_going_back = self.control.took_effect
        self.source = ""
        self.guest: object | None = None
        self._yields = True
        self.closed = False
        self._sinks: list[Sink] = []
        self._listeners: set[Callable[[], None]] = set()
        self._newest: tuple[np.ndarray, int] | None = None
        self._scaling: asyncio.Task[None] | None = None
        self._last_pts = -(2**63)
        self._delivering = asyncio.create_task(self._deliver())
        self._last_frame: float | None = None
        self.trouble = ""
        self._watching = asyncio.create_task(self._watch()) if stream.live else None
        self.failure: RunError | None = None
        self.sound: Sound | None = None
        self.delivered = 0
        self.dropped_by_sinks = 0
        self.first: float | None = None
        self.last = 0.0
        self.rate, self.rate_in = Rate(), Rate()
        self.latency, self.engine_ms, self.source_ms = Samples(), Samples(), Samples()

    @property
    def live(self) -> bool:
        return self._stream.live

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the last result of a finished stream is delivered, or no result can be delivered any more."""
        return self._delivering

    @property
    def sinks(self) -> tuple[Sink, ...]:
        return tuple(self._sinks)

    async def opened(self) -> None:
        """Wait for the engine. Raises `ParameterError`, or `RunError` when none comes up."""
        await self._stream.opened()

    def claim(self, source: str, *, yields: bool = False) -> None:
        """`source` gives this session frames from now on; `yields`: a guest may take its place.

        Raises `ParameterError` while another does.
        """
        if self.source:
            raise ParameterError("session", self.name, f"{self.source} gives it frames; choose another session")
        self.source, self._yields = source, yields

    def check_guest(self) -> None:
        """Raises `ParameterError` where a source gives frames that does not yield to a guest."""
        if self.source and not self._yields:
            raise ParameterError("session", self.name, f"{self.source} gives it frames; choose another session")

    def let_in(self, guest: object) -> None:
        """From now on frames come by `offer`, from `guest`, and those of a pulled source are left out.

        Raises as `check_guest` does.
        """
        self.check_guest()
        self.guest = guest

    def offer(self, image: np.ndarray, captured_ns: int) -> bool:
        """A live frame, RGB (H, W, 3) uint8 of any size, captured at CLOCK_MONOTONIC ns.

        The newest wins; False says that this one was dropped at once. The session keeps `image`: do not write to it.
        """
        self._count_frame()
        parameters = self.control.parameters
        if image.shape[:2] == (parameters.height, parameters.width):
            return self._offer(image, captured_ns)
        replaced, self._newest = self._newest is not None, (image, captured_ns)
        self._stream.dropped += replaced
        if self._scaling is None:
            self._scaling = asyncio.create_task(self._scale())
        return True

    def offer_scaled(self, picture: Picture) -> bool:
        """As `offer`, with a picture from `scaled`; False while there is a guest."""
        if self.guest is not None:
            return False
        self._count_frame()
        return self._stream.offer(picture)

    async def submit(self, picture: Picture) -> None:
        """A frame that must not be lost, from `scaled`; waits for room."""
        self._count_frame()
        await self._stream.submit(picture)

    async def finish(self) -> None:
        """No frame will follow; `ended` is done after the last result."""
        await self._stream.finish()

    def scaled(self, picture: Picture) -> Picture:
        """`picture` at the model's size. May be called from any thread; takes milliseconds."""
        parameters = self.control.parameters
        return Picture(cover(picture.image, parameters.width, parameters.height), picture.pts, picture.captured)

    def add_sink(self, sink: Sink) -> None:
        """From the next result on."""
        self._sinks.append(sink)

    def remove_sink(self, sink: Sink) -> None:
        """No result any more; closing it stays the caller's. Nothing happens when it was removed before."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def on_result(self, listener: Callable[[], None]) -> Callable[[], None]:
        """`listener` is called after each result; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def statistics(self) -> Mapping[str, Any]:
        """Numbers for people and for metrics."""
        now = time.monotonic()
        return {
            "session": self.name,
            "source": self.source,
            "live": self.live,
            "fps": round(self.rate.value(now), 1),
            "fps_in": round(self.rate_in.value(now), 1),
            "latency_ms": round(self.latency.recent(), 1),
            # How much later than its sound a picture is: the delay to give a microphone that goes another way.
            "audio_offset_ms": round(self.latency.recent()),
            "engine_ms": round(self.engine_ms.recent(), 1),
            "engine": self._stream.state,
            "reason": self._stream.reason,
            "trouble": self.trouble,
            "delivered": self.delivered,
            "dropped": self._stream.dropped + self.dropped_by_sinks,
            "received": self.rate_in.total,
            "sinks": [sink.name for sink in self._sinks],
        }

    def queues(self) -> dict[str, int]:
        """How much waits where: frames that the engine has, results that were not delivered yet."""
        return {"engine": self._stream.frames_waiting, "delivery": self._stream.results_waiting}

    async def report(self, *, insight: bool = False) -> dict[str, Any]:
        """The engine's own report on this stream, empty if it cannot be had.

        `insight`: with small pictures of `flow` (RGBA, None while nothing moves) and `noise` as PNG in base64.
        """
        return await self._stream.report(insight=insight)

    async def close(self) -> None:
        """End the stream; the sinks stay the caller's."""
        self.closed = True
        for task in (self._watching, self._scaling, self._delivering):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._stream.close()

    @property
    def fps(self) -> float:
        """Over the whole life."""
        if self.delivered < 2 or self.first is None:
            return 0.0
        return (self.delivered - 1) / max(self.last - self.first, 1e-9)

    # -------------------------------------------------------------------------------------------

    def _offer(self, image: np.ndarray, captured: int) -> bool:
        # The engine and files want increasing times that are near, also from a client that makes up its own.
        now = time.monotonic_ns()
        near = captured if abs(now - captured) < FAR else now
        self._last_pts = pts = max(near, self._last_pts + 1)
        return self._stream.offer(Picture(image, pts, captured))

    async def _scale(self) -> None:
        """Scale the newest frame in a thread, for as long as one waits."""
        try:
            while self._newest is not None:
                (image, captured), self._newest = self._newest, None
                scaled = await asyncio.to_thread(self.scaled, Picture(image, captured, captured))
                self._offer(scaled.image, captured)
        finally:
            self._scaling = None

    async def _deliver(self) -> None:
        async for result in self._stream.results():
            self._count(result)
            for sink in list(self._sinks):
                await self._give(sink, result)
            for listener in list(self._listeners):
                listener()

    async def _give(self, sink: Sink, result: Result) -> None:
        try:
            if not self.live:
                await sink.room()
            if not sink.offer(result):
                self.dropped_by_sinks += 1
        except RunError as error:
            self.failure = self.failure or error
            self.remove_sink(sink)
            if self._sinks:
                self._notify(f"{error}; the stream goes on without it")

    async def _watch(self) -> None:
        """Show a picture that says what is wrong, for as long as there are no results."""
        drawn: tuple[int, int, str] | None = None
        image = np.empty((0, 0, 3), np.uint8)
        ticks = 0
        while True:
            await asyncio.sleep(WATCH_EVERY)
            was, self.trouble = self.trouble, self._why_no_picture()
            ticks = (ticks + 1) % PLACEHOLDER_TICKS if self.trouble == was else 0
            if not self.trouble or ticks:
                continue
            parameters = self.control.parameters
            wanted = parameters.width, parameters.height, self.trouble
            if wanted != drawn:
                drawn, image = wanted, await asyncio.to_thread(placeholder, *wanted)
            for sink in list(self._sinks):
                if isinstance(sink, ShowsPlaceholders):
                    sink.show_placeholder(image)

    def _why_no_picture(self) -> str:
        return why_no_picture(
            time.monotonic(),
            last_result=self.last if self.delivered else None,
            last_frame=self._last_frame,
            engine=self._stream.state,
            reason=self._stream.reason,
            source=self.source,
        )

    def _count_frame(self) -> None:
        self._last_frame = time.monotonic()
        self.rate_in.add(self._last_frame)

    def _count(self, result: Result) -> None:
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        self.last = now
        self.delivered += 1
        self.rate.add(now)
        self.latency.add((result.arrived - result.source.captured) / 1e6)
        self.engine_ms.add(result.process_ms)
