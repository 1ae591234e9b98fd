"""The untouched picture at once, whatever the engine does, and the way back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from driftcam.daemon.commands.ctl import describe
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.session.bypass import FADE, Bypass, blended
from driftcam.engines.api import Parameters
from tests.daemon.collector import Collector
from tests.daemon.conftest import read_clip
from tests.daemon.http_daemon import START, Daemon, daemon_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
RGB = np.random.default_rng(15).integers(0, 256, (START.height, START.width, 3), np.uint8)


@pytest_asyncio.fixture(loop_scope="module")
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(tmp_path) as daemon:
        yield daemon


@pytest_asyncio.fixture(loop_scope="module")
async def shown(daemon: Daemon) -> AsyncIterator[Collector]:
    """While always the same picture comes in, 50 times a second."""
    sink = Collector()
    daemon.session.add_sink(sink)
    with daemon.session.ingest.claim("test") as lease:

        async def give() -> None:
            while True:
                now = time.monotonic_ns()
                lease.offer(Picture(RGB.copy(), now, now))
                await asyncio.sleep(0.02)

        giving = asyncio.create_task(give())
        await until(lambda: sink.results)
        yield sink
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Daemon) -> AsyncIterator[TestClient]:
    async with daemon.client() as client:
        yield client


def untouched(result: Result) -> bool:
    return np.array_equal(result.image, RGB)


async def test_the_untouched_picture_comes_with_the_answer(client: TestClient, shown: Collector) -> None:
    assert not untouched(shown.results[-1])
    version = (await (await client.get("/api/state")).json())["version"]
    before = len(shown.results)
    state = await (await client.put("/api/bypass", json={"on": True})).json()
    assert state["bypass"] is True
    assert state["version"] == version, "it is no change of the look"
    assert untouched(shown.results[-1]), "nobody waited for the next frame"
    first = next(number for number, result in enumerate(shown.results) if untouched(result))
    assert first >= before - 1
    await until(lambda: len(shown.results) > first + 10)
    assert all(untouched(result) for result in shown.results[first:])


async def test_the_way_back_is_monotone_and_without_a_flash(
    daemon: Daemon, client: TestClient, shown: Collector
) -> None:
    await client.put("/api/bypass", json={"on": True})
    await until(lambda: len(shown.results) > 5)
    assert (await (await client.put("/api/bypass", json={"on": False})).json())["bypass"] is False
    back = len(shown.results)
    await until(lambda: np.array_equal(shown.results[-1].image, 255 - RGB))
    far = [float(np.abs(each.image.astype(int) - RGB).mean()) for each in shown.results[back - 1 :]]
    assert far[0] == 0
    assert far == sorted(far)
    assert len(set(far)) > 4, "it fades"
    times = [each.source.pts for each in shown.results]
    assert times == sorted(set(times)), "files want rising times"
    numbers = [each.sequence for each in shown.results]
    assert len(set(numbers)) == len(numbers), "the newest is told apart by them"
    assert daemon.session.statistics()["bypass"] is False


async def test_frames_go_on_without_an_engine(daemon: Daemon, client: TestClient, shown: Collector) -> None:
    await client.put("/api/bypass", json={"on": True})
    pid = daemon.core.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # it hangs, so that none is there for long
    before = len(shown.results)
    try:
        await until(lambda: len(shown.results) > before + 20)
        await client.put("/api/bypass", json={"on": False})
        await until(lambda: len(shown.results) > before + 40)
        assert all(untouched(result) for result in shown.results[before:]), "until the engine gives a result"
        await client.put("/api/bypass", json={"on": True})
    finally:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: daemon.core.supervisor.pid not in (None, pid))
    assert all(untouched(result) for result in shown.results[before:])
    assert not daemon.session.trouble
    await client.put("/api/bypass", json={"on": False})
    await until(lambda: np.array_equal(shown.results[-1].image, 255 - RGB))


async def test_it_is_toggled_told_and_no_preset_keeps_it(daemon: Daemon, client: TestClient, shown: Collector) -> None:
    assert (await (await client.post("/api/bypass")).json())["bypass"] is True
    state = await (await client.get("/api/state")).json()
    assert any("untouched" in line for line in describe(state))
    assert (await client.put("/api/presets/mine")).status < 300
    assert (await (await client.post("/api/bypass")).json())["bypass"] is False
    await client.post("/api/presets/mine")
    assert daemon.session.bypassed is False
    for bad in ({}, {"on": 1}, {"on": "on"}, [], True):
        response = await client.put("/api/bypass", json=bad)
        assert response.status == 422
        assert (await response.json())["field"] == "on"


async def test_a_recording_shows_it(client: TestClient, shown: Collector) -> None:
    before = len(shown.results)
    await until(lambda: len(shown.results) > before + 3)
    path = (await (await client.post("/api/recording")).json())["path"]
    await client.put("/api/bypass", json={"on": True})
    before = len(shown.results)
    await until(lambda: len(shown.results) > before + 30)
    await client.delete("/api/recording")
    last = read_clip(Path(path))[-1][1].astype(int)
    assert np.abs(last - RGB).mean() < np.abs(last - (255 - RGB)).mean() / 2


async def test_the_switch_by_its_clock() -> None:
    bypass = Bypass()
    assert bypass.share(0.0) == 1, "off costs nothing"
    bypass.switch(True)
    assert bypass.direct
    assert bypass.share(1.0) == 0
    bypass.switch(False)
    assert bypass.direct, "until there is a result"
    assert bypass.share(5.0) == 0
    assert not bypass.direct
    assert bypass.share(5.0 + FADE / 2) == pytest.approx(0.5)
    bypass.switch(True)
    assert bypass.share(5.0 + FADE / 2) == 0, "at once, also on the way back"
    bypass.switch(False)
    assert [bypass.share(6.0), bypass.share(6.0 + FADE), bypass.share(6.0)] == [0, 1, 1]


async def test_light_stays_between_that_of_the_two_pictures() -> None:
    chess = np.indices((32, 32)).sum(0) % 2 * np.full((3, 1, 1), 255)
    untouched = chess.transpose(1, 2, 0).astype(np.uint8)
    stylised = 255 - untouched  # as light as the other; a blend of sRGB's numbers loses half of it
    for share in (0.25, 0.5, 0.75):
        light = (blended(untouched, stylised, share) / 255.0) ** 2.2
        assert light.mean() == pytest.approx(0.5, abs=0.02)
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(blended(ramp, 255 - ramp, 0.0), ramp)
    assert np.array_equal(blended(ramp, 255 - ramp, 1.0), 255 - ramp)
    assert blended(ramp, np.zeros((8, 4, 3), np.uint8), 0.5).shape == (8, 4, 3)


async def test_a_clip_keeps_all_its_frames(daemon: Daemon) -> None:
    session = daemon.core.sessions.open("clip", Parameters(width=128, height=64, steps=1), live=False)
    sink = Collector()
    session.add_sink(sink)
    await session.opened()
    session.bypass(True)
    with session.ingest.claim("test") as lease:
        for number in range(10):
            await lease.submit(Picture(RGB.copy(), number * 10**8, number))
        await session.finish()
    await session.ended
    assert [result.source.pts for result in sink.results] == [number * 10**8 for number in range(10)]
    assert all(untouched(result) for result in sink.results)
