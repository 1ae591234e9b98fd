"""The stream batch in the running daemon, with the embedded model: the sequential pictures, all of them, in order."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from driftcam import Engine
from driftcam.daemon import cli
from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.session import Session
from driftcam.daemon.sources.pattern import draw
from driftcam.engines.api import Parameters
from driftcam.engines.api.engine_options import EngineOptions
from tests.daemon.collector import Collector
from tests.daemon.conftest import read_clip
from tests.daemon.test_real_engine import write_scene

pytestmark = pytest.mark.timeout(300)  # on a machine that is busy

START = Parameters(width=96, height=64, steps=4, strength=0.8)
LEVELS = 1  # of 255: latents agree to 1e-5 (test_stream), so that a rounding here and there is all that may differ


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks this small run slower on two threads than on one, above all on a busy machine."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the engine process
    torch.set_num_threads(1)


def scene(number: int) -> np.ndarray:
    return cv2.resize(draw(number), (160, 96))


@asynccontextmanager
async def running(options: EngineOptions, parameters: Parameters, *, live: bool) -> AsyncIterator[tuple[Core, Session]]:
    """A daemon's core with one open session."""
    core = Core(worker_command(None, options), notify=logging.getLogger("driftcam").warning)
    try:
        session = core.sessions.open("live", parameters, live=live)
        await session.opened()
        yield core, session
    finally:
        await core.close()


async def through_the_daemon(
    pipeline: str,
    parameters: Parameters,
    frames: int,
    before: Callable[[Core, Session, int], Awaitable[None]] | None = None,
) -> list[Result]:
    """The results of a clip of so many frames; `before` is called before each is given."""
    async with running(EngineOptions(pipeline=pipeline, backend="torch"), parameters, live=False) as (core, session):
        sink = Collector()
        session.add_sink(sink)
        lease = session.ingest.claim("test")
        for number in range(frames):
            if before is not None:
                await before(core, session, number)
            await lease.submit(lease.fitted(Picture(scene(number), number, time.monotonic_ns())))
        await session.finish()
        await session.ended
    assert [result.source.pts for result in sink.results] == list(range(frames)), "one is lost, or out of order"
    return sink.results


def furthest(image: np.ndarray, wanted: np.ndarray) -> int:
    return int(np.abs(image.astype(int) - wanted).max())


async def test_a_clip_gives_the_sequential_pictures() -> None:
    """With noise that drifts along, which every frame leaves to the next."""
    results, engine = await through_the_daemon("stream", START, 12), Engine(START, backend="torch")
    for result in results:
        assert furthest(result.image, engine.process(result.source.image)[0].image) <= LEVELS


class Alone:
    """What the sequential pipeline makes of any frame. The noise is that of a frame alone."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters.replace(noise="fixed")
        self._engine: Engine | None = None

    def furthest(self, result: Result) -> int:
        """How far `result` is from it."""
        size = self._parameters.width, self._parameters.height
        if result.image.shape[1::-1] != size:
            return 255
        self._engine = self._engine or Engine(self._parameters, backend="torch")
        return furthest(result.image, self._engine.process(result.source.image)[0].image)


async def test_a_live_change_of_steps_style_and_size_loses_and_mixes_nothing() -> None:
    """Every picture is that of the settings before a change or after it, and never again of those before."""
    looks = [START.replace(noise="fixed", styles=(("great-wave", 1.0),))]
    looks.append(looks[-1].replace(steps=2))
    looks.append(looks[-1].replace(styles=(("inferno", 1.0),)))
    looks.append(looks[-1].replace(width=64, height=64))
    looks.append(looks[-1].replace(steps=3))
    each = 6

    async def change(core: Core, session: Session, number: int) -> None:
        if number and number % each == 0:
            look = looks[number // each]
            await session.control.change({n: getattr(look, n) for n in ("styles", "steps", "width", "height")})
        await asyncio.sleep(0.05)  # networks of another size are prepared meanwhile

    wanted = [Alone(look) for look in looks]
    now, changes = 0, []
    for result in await through_the_daemon("stream", looks[0], each * len(looks), change):
        was = now
        while wanted[now].furthest(result) > LEVELS:
            now += 1
            assert now < len(looks), f"frame {result.source.pts} is not that of the settings {was} or later ones"
        changes += [now] if now != was else []
    assert changes[-1] == len(looks) - 1 and len(changes) >= 2, changes


async def test_an_engine_that_is_killed_in_the_middle_costs_no_picture() -> None:
    """Those in its batch are made again by the next one. All is of the frame alone, to compare."""
    parameters = START.replace(noise="fixed", memory=0.0)

    async def kill(core: Core, session: Session, number: int) -> None:
        if number in (7, 15):
            pid = core.supervisor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

    results, wanted = await through_the_daemon("stream", parameters, 20, kill), Alone(parameters)
    assert max(wanted.furthest(result) for result in results) <= LEVELS


@pytest.mark.parametrize(("pipeline", "lag"), [("sequential", 0), ("stream", 3)])
async def test_the_frames_of_delay_are_told_as_latency_and_as_offset_of_the_sound(pipeline: str, lag: int) -> None:
    """Four steps: three frames. The state says which pipeline runs."""
    interval = 0.25
    async with running(EngineOptions(pipeline=pipeline, backend="torch"), START, live=True) as (_, session):
        lease = session.ingest.claim("camera")
        for number in range(14):
            await asyncio.sleep(interval)
            now = time.monotonic_ns()
            lease.offer(Picture(scene(number), now, now))
        told = session.statistics()
    assert told["pipeline"] == pipeline
    assert told["latency_ms"] >= lag * interval * 1000
    assert abs(told["audio_offset_ms"] - told["latency_ms"]) < 0.6  # whole milliseconds and tenths of the same


async def test_the_measurement_that_decided_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "driftcam.engine"):
        async with running(EngineOptions(backend="torch"), START, live=True) as (_, session):
            end, lease = time.monotonic() + 60, session.ingest.claim("camera")
            while not (lines := [r.getMessage() for r in caplog.records if "pipeline" in r.getMessage()]):
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
                now = time.monotonic_ns()
                lease.offer(Picture(scene(now % 100), now, now))
            report = await session.report()
    assert lines == [f"pipeline {report['pipeline']}: {report['why_pipeline']}"]
    assert "4 steps of a frame take" in lines[0] and lines[0].count(" ms") >= 2


def test_run_takes_the_pipeline_by_name_and_its_report_tells_it(tmp_path: Path) -> None:
    clip, pictures = write_scene(tmp_path / "clip.mp4", 8), {}
    for pipeline in ("sequential", "stream"):
        out, report = tmp_path / f"{pipeline}.mp4", tmp_path / f"{pipeline}.json"
        arguments = ["--source", f"clip:{clip}", "--sink", f"file:{out}", "--size", "96x64", "--report", str(report)]
        choice = ["--pipeline", pipeline, "--backend", "torch", "--precision", "fp32", "--device", "0"]
        assert cli.main(["run", *arguments, *choice, "--steps", "4"]) == 0
        told = json.loads(report.read_text())
        assert told["pipeline"] == pipeline and told["why_pipeline"] == "as asked for"
        assert told["backend"].startswith("torch fp32") and told["frames"] == 8
        pictures[pipeline] = [image.astype(int) for _, image in read_clip(out)]
    # A level here and there grows in the file, where a picture is made from the one before. The first test compares
    # them uncompressed; here every picture is nearest to its own.
    for number, image in enumerate(pictures["stream"]):
        distances = [float(np.abs(image - other).mean()) for other in pictures["sequential"]]
        assert len(distances) == 8 and np.argmin(distances) == number and distances[number] < 2, distances
