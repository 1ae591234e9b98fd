"""`driftcam run` as a function: from options to a report."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from driftcam.daemon.config.folders import recordings_folder
from driftcam.daemon.config.specs import Spec, parse_listen, parse_sink, parse_source
from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.engine.state import Timeouts
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Result
from driftcam.daemon.loose import loosely
from driftcam.daemon.service.logs import Recent
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.feed import feed, open_loosely
from driftcam.daemon.session.recordings import Recordings
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.sessions import DEFAULT
from driftcam.daemon.sinks import Sink
from driftcam.daemon.sinks.opening import open_sink
from driftcam.daemon.smooth.pace import rate_of, shown_fps
from driftcam.daemon.sources import Source
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.memory import peak_memory_mb
from driftcam.engines.api.planes import STYLE_PICTURE
from driftcam.engines.api.sizes import model_size

if TYPE_CHECKING:
    from driftcam.daemon.web import Web

log = logging.getLogger("driftcam")

DEFAULT_LISTEN = "127.0.0.1:8900"
STOP_PATIENCE = 5.0


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        source: such as `clip:PATH`, `webcam`, `test`; all in `daemon.config.specs.SOURCES`.
        sinks: any of `file:PATH`, `page`, `virtualcam[:DEVICE]`, as in `daemon.config.specs.SINKS`.
        parameters: at the start; the page changes them.
        size: (width, height) of the model's picture. `auto` is the largest that this machine runs live, in the shape of
            the source; None is that for a live picture, and for a clip into a file the default area.
        style_image: a picture whose style is used.
        frames: end after so many results.
        compare: a file shows the frame beside the result.
        listen: address of the page.
        engine_options: what the engine is told when it starts: model, pipeline, backend.
        engine: MODULE:CLASS of another engine.
        timeouts: of the supervisor.
    """

    source: str
    sinks: tuple[str, ...]
    parameters: Parameters = field(default_factory=Parameters)
    size: tuple[int, int] | Literal["auto"] | None = None
    style_image: Path | None = None
    frames: int | None = None
    compare: bool = False
    listen: str = DEFAULT_LISTEN
    engine_options: EngineOptions = field(default_factory=EngineOptions)
    engine: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True)
class Progress:
    """How far a run is; `total` is None for a source without a known end."""

    done: int
    total: int | None
    fps: float


@dataclass(frozen=True)
class Report:
    """How a run went. Times in ms, each with p50 and p95.

    Attributes:
        frames: results delivered.
        seconds, fps: from the first result to the last.
        first_frame_s: from the start of the run to the first result.
        frame_ms: a frame in the engine.
        latency_ms: from capture to the result.
        stages_ms: by stage: the engine's own stages, and `source`, reading and scaling beside it.
        dropped: frames or results that a newer one replaced.
        restarts: of the engine.
        memory_peak_mb: of the two processes.
        backend: the engine's words on what it runs on.
        pipeline, why_pipeline: `sequential` or `stream`, and the measurement or the wish behind it.
        parameters: at the end.
    """

    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    first_frame_s: float | None = None
    frame_ms: dict[str, float] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    stages_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    dropped: int = 0
    restarts: int = 0
    memory_peak_mb: dict[str, float | None] = field(default_factory=dict)
    backend: str = ""
    pipeline: str = ""
    why_pipeline: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


async def run_async(
    options: Options,
    *,
    stop: asyncio.Event | None = None,
    notify: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_page: Callable[[str], None] = lambda address: None,
) -> Report:
    """Run until the source ends, `options.frames` were delivered or `stop` is set.

    `notify` gets lines for people (the engine restarts, a camera is gone), `on_page` the page's address.
    Raises `ParameterError` for an option that cannot be used and `RunError` for what fails later; either is one
    clear line. Files are complete and processes ended when it returns or raises.
    """
    started = time.monotonic()
    stop = stop or asyncio.Event()
    run = _Run(options, stop, notify, on_progress, on_page)
    try:
        if not await _unless(stop, run.open()):
            return Report()
        return await run.to_end(started)
    finally:
        await run.close()


async def _unless(stop: asyncio.Event, opening: Coroutine[Any, Any, None]) -> bool:
    """Whether `opening` came to its end before `stop` was set, which cancels it."""
    tasks = [asyncio.ensure_future(opening), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            return False
        await tasks[0]
        return True
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Run:
    """The parts of a run, in the order in which they are opened. Raises `ParameterError`."""

    def __init__(
        self,
        options: Options,
        stop: asyncio.Event,
        notify: Callable[[str], None],
        on_progress: Callable[[Progress], None],
        on_page: Callable[[str], None],
    ) -> None:
        self._options, self._stop, self._on_progress, self._on_page = options, stop, on_progress, on_page
        self._loop = asyncio.get_running_loop()
        self._source_spec, self._sink_specs = parse_source(options.source), [parse_sink(text) for text in options.sinks]
        _check_together(self._source_spec, self._sink_specs)
        parse_listen(options.listen)
        self._source: Source | None = None  # from when it is open until it is fed
        self._stop_source = threading.Event()
        self._sinks: list[Sink] = []
        self._web: Web | None = None
        self._failure: RunError | None = None  # of the first sink that failed
        self._enough = asyncio.Event()
        # The engine loads its libraries while the source and the sinks are opened.
        command = worker_command(options.engine, options.engine_options)
        model = None if options.engine else options.engine_options.model.kind
        self._core = Core(command, notify=notify, timeouts=options.timeouts, model=model)

    async def open(self) -> None:
        """Everything else that can be wrong with the options is found here."""
        options, sink_specs = self._options, self._sink_specs
        self._source = await open_loosely(self._source_spec, self._notify_from_thread, self._stop_source)
        info = self._source.info
        self._live = not (info.waits and any(spec.kind == "file" for spec in sink_specs))
        self._core.sessions.auto_size = options.size == "auto" or (options.size is None and self._live)
        given = options.size if isinstance(options.size, tuple) else None
        width, height = given or model_size(info.width, info.height)
        parameters = options.parameters.replace(width=width, height=height)
        self._session = self._core.sessions.open(DEFAULT, parameters, live=self._live)
        self._lease = self._session.ingest.claim(self._source_spec.shown, yields=True)
        self._lease.sound = self._source.sound
        rate = rate_of(parameters.smooth)
        self._frames = None
        if not self._live and info.frames is not None:
            self._frames = round(info.frames * shown_fps(info.fps, rate) / info.fps)
        self._session.on_sink_failure = self._sink_failed
        for spec in sink_specs:
            if spec.kind == "page":
                await self._open_page()
            else:
                self._sinks.append(self._open_sink(spec, info.fps))
                self._session.add_sink(self._sinks[-1])
        await self._session.opened()
        if options.style_image is not None:
            from driftcam.daemon.pictures import read_picture

            picture = await loosely(read_picture, options.style_image)
            await self._session.control.set_plane(STYLE_PICTURE, picture)

    async def to_end(self, started: float) -> Report:
        """Move the frames; the report. Raises `RunError` when a sink or the engine failed for good, in the end."""
        session, supervisor = self._session, self._core.supervisor
        await self._move_frames(session)
        if self._failure is not None:
            raise self._failure
        if not session.delivered and not self._stop.is_set():
            raise RunError(f"no picture came from {self._source_spec.shown}; nothing was written")
        engine = await session.report()
        pid = supervisor.pid
        memory = {"daemon": peak_memory_mb(), "engine": peak_memory_mb(pid) if pid else None}
        await self._close_sinks()
        return Report(
            frames=min(session.delivered, self._options.frames or session.delivered),
            seconds=round(session.last - (session.first or session.last), 3),
            fps=round(session.fps, 2),
            first_frame_s=round(session.first - started, 3) if session.first else None,
            frame_ms=session.engine_ms.summary(),
            latency_ms=session.latency.summary(),
            stages_ms={"source": session.source_ms.summary(), **engine.get("stages_ms", {})},
            dropped=session.statistics()["dropped"],
            restarts=supervisor.restarts,
            memory_peak_mb=memory,
            backend=supervisor.backend,
            pipeline=engine.get("pipeline", ""),
            why_pipeline=engine.get("why_pipeline", ""),
            parameters=session.control.parameters.to_dict(),
        )

    async def _move_frames(self, session: Session) -> None:
        """Until the source ends, `frames` were delivered, the run is stopped, or nobody is left to see them."""
        assert self._source is not None
        source, self._source = self._source, None
        session.listen(self._after_result)
        feeding = asyncio.create_task(feed(source, session, self._lease, self._stop_source, self._options.frames))
        stopping = asyncio.create_task(self._stop.wait())
        done = asyncio.create_task(self._enough.wait())
        ends: list[asyncio.Future] = [self._core.alive, session.ended, done]
        try:
            await _first_of(*ends, stopping, feeding)
            self._stop_source.set()
            if stopping.done() and not any(end.done() for end in ends):
                # What is on its way still arrives: a clip's file ends with the last frame that was read.
                await asyncio.wait(ends, timeout=STOP_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            for end in (self._core.alive, session.ended, feeding):
                if end.done() and (error := end.exception()) is not None:
                    raise error
        finally:
            self._stop_source.set()
            for task in (stopping, done, feeding):
                task.cancel()
            await asyncio.gather(stopping, done, feeding, return_exceptions=True)

    async def close(self) -> None:
        """Free everything, whatever happened before."""
        self._stop_source.set()
        if self._source is not None:
            self._source.close()
        try:
            await self._close_sinks()
        finally:
            await self._core.close()

    async def _close_sinks(self) -> None:
        """All of them, and the page, before the first failure is raised."""
        failure: RunError | None = None
        closing: list[Sink | Web] = [*self._sinks, *([self._web] if self._web is not None else [])]
        self._sinks, self._web = [], None
        while closing:
            try:
                await closing.pop().close()
            except RunError as error:
                failure = failure or error
            except Exception as error:
                log.exception("closing failed")
                failure = failure or RunError(f"closing failed: {error!r}")
        if failure is not None:
            raise failure

    def _open_sink(self, spec: Spec, fps: float) -> Sink:
        return open_sink(
            spec,
            fps,
            rate_of(self._session.control.parameters.smooth),
            compare=self._options.compare,
            sound=lambda: self._session.sound,
            why=self._why,
            notify=self._notify_from_thread,
        )

    async def _open_page(self) -> None:
        from driftcam.daemon.web import Web

        self._web = Web(self._core, Recordings(recordings_folder()), Recent())
        self._on_page(await self._web.open(*parse_listen(self._options.listen)))

    def _sink_failed(self, error: RunError) -> None:
        self._failure = self._failure or error
        if self._session.sinks or self._web is not None:
            self._core.notify(f"{error}; the stream goes on without it")
        else:
            self._enough.set()

    def _after_result(self, result: Result) -> None:
        self._progress(self._session)
        if self._session.delivered == self._options.frames:
            for sink in self._session.sinks:  # before the next one, which of a live source may be here already
                self._session.remove_sink(sink)
            self._enough.set()

    def _why(self) -> str:
        """There is no picture. From any thread."""
        if trouble := self._session.trouble:
            return trouble
        return self._core.notices[-1] if self._core.notices else "waiting for the first picture"

    def _progress(self, session: Session) -> None:
        total = self._options.frames or self._frames
        self._on_progress(Progress(session.delivered, total, session.rate.value(time.monotonic())))

    def _notify_from_thread(self, line: str) -> None:
        self._loop.call_soon_threadsafe(self._core.notify, line)


async def _first_of(*tasks: asyncio.Future) -> None:
    """Until one of them ends; that the source has ended well (the last task) is not yet the end."""
    feeding = tasks[-1]
    waiting = set(tasks)
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if done != {feeding} or feeding.exception() is not None:
            return


def _check_together(source: Spec, sinks: list[Spec]) -> None:
    """What is wrong only in combination. Raises `ParameterError`."""
    if not sinks:
        raise ParameterError("sink", "nothing", "give at least one of file:PATH, page, virtualcam")
    seen: set[str] = set()
    for spec in sinks:
        key = f"{spec.kind}:{os.path.realpath(spec.argument)}" if spec.kind == "file" else str(spec)
        if key in seen:
            raise ParameterError("sink", str(spec), "give it once")
        seen.add(key)
        if spec.kind == "file" and source.kind == "clip":
            here, there = Path(spec.argument), Path(source.argument)
            if here.exists() and there.exists() and here.samefile(there):
                raise ParameterError("sink", str(spec), "it is the source itself; write to another file")
