"""One source, one stream through the engine, any number of sinks: moves the frames and counts them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from driftcam.daemon import background
from driftcam.daemon.engine.state import EngineState
from driftcam.daemon.engine.stream import SessionStream
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture, Result, keep_bars
from driftcam.daemon.measure import Patience, Samples
from driftcam.daemon.modulation.modulation import Modulation
from driftcam.daemon.placeholder import placeholder
from driftcam.daemon.session.anchors import Anchors
from driftcam.daemon.session.bypass import Bypass, blended
from driftcam.daemon.session.control import Control
from driftcam.daemon.session.ingest import Ingest
from driftcam.daemon.session.smooth import Smoother
from driftcam.daemon.session.waiting import KEEP, why_no_picture
from driftcam.daemon.sinks import ShowsAlpha, ShowsPlaceholders, Sink
from driftcam.daemon.smooth.pace import rate_of
from driftcam.daemon.sound import Sound
from driftcam.engines.api import Parameters
from driftcam.engines.api.planes import ALPHA, KNOWN, Plane
from driftcam.webrtc.measure import Rate

log = logging.getLogger("driftcam")

Listener = Callable[[Result], None]
"""Hears of each result, after the sinks; returns at once. It has no name, takes no room and does not fail."""

WATCH_EVERY, PLACEHOLDER_TICKS = 0.25, 4  # seconds; a sink gets the same placeholder every so many


class Session:
    """Opened by `Sessions.open`; frames come by a lease of `ingest`.

    Its results reach every sink. In a live session a slow sink loses results, otherwise it makes the source wait.

    Attributes:
        name: letters, digits and `-`.
        control: the parameters and who wants to know of their changes.
        anchors: the looks that are kept.
        modulation: what moves parameters from frame to frame.
        ingest: the door for frames.
        closed: nothing comes any more.
        trouble: why there are no results, as the placeholder says it, or empty.
        on_sink_failure: called with what went wrong when a sink was removed for it.
    """

    def __init__(
        self,
        name: str,
        parameters: Parameters,
        stream: SessionStream,
        *,
        notify: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name, self._stream, self._notify = name, stream, notify
        self.control = Control(parameters, stream)
        self.anchors = Anchors(self.control)
        stream.settings.on_other_parameters = self.control.took_effect
        self._bypass = Bypass()
        self._smooth = Smoother(self._hand_on, name)
        self.modulation = Modulation(lambda: self.sound)
        self.ingest = Ingest(
            name, stream, lambda: self.control.parameters, self._wanted, self._show_untouched, self.modulation.of
        )
        self.closed = False
        self._sinks: list[Sink] = []
        self._listeners: list[tuple[Listener, Callable[[np.ndarray], None]]] = []
        self._alpha_shown = False
        self.trouble = ""
        self._watching: asyncio.Task[None] | None = None
        if stream.live:
            self._delivering = background.keep(self._deliver, f"{name}: delivering results")
            self._watching = background.keep(self._watch, f"{name}: the placeholder")
        else:  # who waits for all results hears of it by `ended`
            self._delivering = asyncio.create_task(self._deliver())
        self.on_sink_failure: Callable[[RunError], None] = self._go_on_without
        self.delivered = 0
        self.dropped_by_sinks = 0
        self.first: float | None = None
        self.last = 0.0
        self._last_pts, self._last_number = -(2**63), 0
        self.rate, self._pauses = Rate(), Patience(KEEP)
        self.latency, self.engine_ms, self.source_ms = Samples(), Samples(), Samples()

    @property
    def live(self) -> bool:
        return self._stream.live

    @property
    def source(self) -> str:
        """Who gives it frames, or empty."""
        return self.ingest.source

    @property
    def sound(self) -> Sound | None:
        """What belongs to its frames, for sinks that carry sound; None where there is none."""
        return self.ingest.on_air.sound if self.ingest.on_air is not None else None

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the last result of a finished stream is delivered, or no result can be delivered any more."""
        return self._delivering

    @property
    def planes(self) -> Mapping[str, Plane] | None:
        """That the engine reads, by name; None as long as it never said."""
        return self._stream.planes

    @property
    def sinks(self) -> tuple[Sink, ...]:
        return tuple(self._sinks)

    async def opened(self) -> None:
        """Wait for the engine. Raises `ParameterError`, or `RunError` when none comes up."""
        await self._stream.opened()

    async def finish(self) -> None:
        """No frame will follow; `ended` is done after the last result."""
        await self._stream.finish()

    @property
    def bypassed(self) -> bool:
        """Whether the sinks are to show the untouched picture."""
        return self._bypass.on

    def bypass(self, on: bool) -> None:
        """Show the untouched picture from now on, whatever the engine does, or fade back to what it makes.

        The engine goes on beside it, so that its noise and memory are up to date when it is switched off. Where no
        frame may be lost, the frames keep their order and so wait for the engine.
        """
        if on == self._bypass.on:
            return
        self._bypass.switch(on)
        if on:
            self._smooth.clear()
        if self.live and (picture := self.ingest.newest) is not None:
            self._show_untouched(picture)
        self.control.announce()

    def add_sink(self, sink: Sink) -> None:
        """From the next result on."""
        self._sinks.append(sink)
        self._alpha_shown = any(isinstance(each, ShowsAlpha) and each.alpha for each in self._sinks)

    def remove_sink(self, sink: Sink) -> None:
        """No result any more; closing it stays the caller's. Nothing happens when it was removed before."""
        if sink in self._sinks:
            self._sinks.remove(sink)
            self._alpha_shown = any(isinstance(each, ShowsAlpha) and each.alpha for each in self._sinks)

    def listen(
        self, listener: Listener, on_placeholder: Callable[[np.ndarray], None] = lambda image: None
    ) -> Callable[[], None]:
        """`listener` is called with each result, `on_placeholder` as `ShowsPlaceholders.show_placeholder` is.

        Returns what ends that.
        """
        pair = listener, on_placeholder
        self._listeners.append(pair)
        return lambda: self._listeners.remove(pair)

    def statistics(self) -> Mapping[str, Any]:
        """Numbers for people and for metrics."""
        now = time.monotonic()
        return {
            "session": self.name,
            "source": self.source,
            "live": self.live,
            "bypass": self.bypassed,
            "fps": round(self.rate.value(now), 1),
            "fps_in": round(self.ingest.rate.value(now), 1),
            "latency_ms": round(self.latency.recent(), 1),
            # How much later than its sound a picture is: the delay to give a microphone that goes another way.
            "audio_offset_ms": round(self.latency.recent()),
            "engine_ms": round(self.engine_ms.recent(), 1),
            "engine": self._stream.state,
            "model": self._stream.model,
            "pipeline": self._stream.pipeline,
            "reason": self._stream.reason,
            "trouble": self.trouble,
            "delivered": self.delivered,
            "dropped": self._stream.dropped + self.dropped_by_sinks,
            "received": self.ingest.rate.total,
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

    def leave_size_open(self) -> None:
        """The next engine that takes it up chooses the size, unless somebody asks for one before."""
        self._stream.settings.auto_size = True

    async def close(self) -> None:
        """End the stream; the sinks stay the caller's."""
        self.closed = True
        try:
            await self.ingest.close()
            self.modulation.close()
            tasks = [task for task in (self._watching, self._delivering) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._smooth.close()
        finally:
            self._stream.close()

    @property
    def fps(self) -> float:
        """Over the whole life."""
        if self.delivered < 2 or self.first is None:
            return 0.0
        return (self.delivered - 1) / max(self.last - self.first, 1e-9)

    # -------------------------------------------------------------------------------------------

    def _wanted(self) -> Mapping[str, Plane]:
        """The planes of a frame that somebody reads; all others are left out at the door."""
        read = self._stream.planes or {}
        return {**read, ALPHA: KNOWN[ALPHA]} if self._alpha_shown else read

    async def _deliver(self) -> None:
        async for result in self._stream.results():
            self.engine_ms.add(result.process_ms)
            share = self._bypass.share(time.monotonic())
            if self._bypass.on and self.live:
                continue  # its frame was shown when it came
            keep_bars(result)
            if share < 1:
                image = result.source.image
                if share:
                    image = await asyncio.to_thread(blended, image, result.image, share)
                result = dataclasses.replace(result, image=image)
                if self._bypass.on and self.live:
                    continue  # switched on meanwhile
            rate = rate_of(self.control.parameters.smooth)
            if self.live:
                self._smooth.take(result, rate)
                continue
            async for picture in self._smooth.through(result, rate):
                for sink in list(self._sinks):
                    await self._room(sink)
                self._hand_on(picture)

    def _show_untouched(self, picture: Picture) -> None:
        """A live frame came in."""
        if self._bypass.direct:
            self._hand_on(self._stream.untouched(picture))

    def _hand_on(self, result: Result) -> None:
        """To whoever shows it."""
        if result.source.pts <= self._last_pts:  # the engine's are later than untouched ones; a file's times rise
            source = dataclasses.replace(result.source, pts=self._last_pts + 1)
            result = dataclasses.replace(result, source=source)
        if result.sequence <= self._last_number:  # those between two have none of their own
            result = dataclasses.replace(result, sequence=self._last_number + 1)
        self._last_pts, self._last_number = result.source.pts, result.sequence
        self._count(result)
        for sink in list(self._sinks):
            with self._failing_alone(sink):
                if not sink.offer(result):
                    self.dropped_by_sinks += 1
        for listener, _ in list(self._listeners):
            listener(result)

    async def _room(self, sink: Sink) -> None:
        with self._failing_alone(sink):
            await sink.room()

    @contextlib.contextmanager
    def _failing_alone(self, sink: Sink) -> Iterator[None]:
        try:
            yield
        except RunError as error:
            self.remove_sink(sink)
            self.on_sink_failure(error)
        except Exception as error:
            log.exception("the sink %s failed", sink.name)
            self.remove_sink(sink)
            self.on_sink_failure(RunError(f"{sink.name}: a mistake of Driftcam ({error!r}); its log says more"))

    def _go_on_without(self, error: RunError) -> None:
        self._notify(f"{error}; the stream goes on without it")

    async def _watch(self) -> None:
        """Show a picture that says what is wrong, for as long as there are no results."""
        drawn: tuple[int, int, str] | None = None
        image = np.empty((0, 0, 3), np.uint8)
        ticks = 0
        while True:
            await asyncio.sleep(WATCH_EVERY)
            was, self.trouble = self.trouble, self._why_no_picture()
            if self.trouble != was and self._stream.state is EngineState.READY:  # else the supervisor tells
                log.info("session %s: %s", self.name, self.trouble or "the picture is there")
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
            for _, show in list(self._listeners):
                show(image)

    def _why_no_picture(self) -> str:
        lease = self.ingest.on_air
        return why_no_picture(
            time.monotonic(),
            last_result=self.last if self.delivered else None,
            last_frame=self.ingest.last_frame,
            engine=EngineState.READY if self._bypass.direct else self._stream.state,
            reason=self._stream.reason,
            source=lease.holder if lease is not None else "",
            frames_pause=lease.pauses.seconds if lease is not None else KEEP,
            results_pause=self._pauses.seconds,
        )

    def _count(self, result: Result) -> None:
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        self.last = now
        self.delivered += 1
        self.rate.add(now)
        self._pauses.came(now)
        self.latency.add((result.arrived - result.source.captured) / 1e6)
