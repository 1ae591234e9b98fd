"""Pictures of another shape than the model's, through each way in. The stand-in engine gives back the negative."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from driftcam.daemon.browser import PeerStreams
from driftcam.daemon.frames import Picture, Result, fitted, keep_bars
from driftcam.engines.api import Parameters
from driftcam.engines.api.planes import KNOWN
from tests.daemon.conftest import read_clip, start_run, write_clip
from tests.daemon.http_daemon import daemon_in, until
from tests.daemon.test_bus_server import Bus, bus, in_thread, through  # noqa: F401 (bus is a fixture)

SIDE = 64
FITS = ("cover", "contain", "stretch")


def wide(side: int = SIDE) -> np.ndarray:
    """Twice as wide as high: black, with a square of 200 in the middle."""
    image = np.zeros((side, 2 * side, 3), np.uint8)
    image[side // 4 : side * 3 // 4, side * 3 // 4 : side * 5 // 4] = 200
    return image


def check(result: np.ndarray, fit: str) -> None:
    """The square, in the negative; nothing else is as dark but the bars."""
    assert result.shape == (SIDE, SIDE, 3)
    grey = result[..., 1].astype(int)
    quarter = SIDE // 4
    if fit == "contain":
        assert grey[: quarter - 1].max() < 6 and grey[-quarter + 1 :].max() < 6, "the bars are black"
        grey = grey[quarter:-quarter]
        grey[[0, -1]] = 255  # where an encoder rings
    dark = np.abs(grey - 55) < 30
    width, height = dark.any(0).sum(), dark.any(1).sum()
    wide, high = {"cover": (32, 32), "contain": (16, 16), "stretch": (16, 32)}[fit]
    assert abs(width - wide) <= 3 and abs(height - high) <= 3, (width, height)
    assert abs(int(grey[len(grey) // 2, SIDE // 2]) - 55) <= 6


@pytest.mark.parametrize("fit", FITS)
async def test_a_clip_into_a_file(tmp_path: Path, fit: str) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    write_clip(clip, 3, image=wide(2 * SIDE))
    await start_run(f"clip:{clip}", f"file:{out}", size=(SIDE, SIDE), parameters=Parameters(fit=fit)).task
    frames = read_clip(out)
    assert len(frames) == 3
    for _, image in frames:
        check(image, fit)


async def test_a_program_on_the_bus_that_changes_its_mind(bus: Bus) -> None:  # noqa: F811
    def work() -> None:
        start = {"width": SIDE, "height": SIDE, "fit": "contain"}
        with bus.client("filter", parameters=start) as client:
            check(through(client, wide(), pts=1), "contain")
            for number, fit in enumerate(("stretch", "cover", "contain"), 2):
                client.change(fit=fit)
                check(through(client, wide(3 * SIDE), pts=number), fit)

    await in_thread(work)


@pytest.mark.parametrize("fit", FITS)
async def test_a_camera_in_the_browser(tmp_path: Path, fit: str) -> None:
    async with daemon_in(tmp_path) as daemon:
        session = daemon.session
        await session.control.change({"width": SIDE, "height": SIDE, "fit": fit})
        seen: list[np.ndarray] = []
        with session.ingest.claim("what the size belongs to", yields=True):
            place = await PeerStreams(daemon.core.sessions).join("live", publishes=True)
            end = place.listen(lambda image, captured: seen.append(image))
            while not seen:
                place.offer(wide(100), time.monotonic_ns())
                await asyncio.sleep(0.02)
            await until(lambda: seen)
            end()
            await place.leave()
        check(seen[-1], fit)


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (96, 48)])
def test_bars_stay_where_they_belong_while_the_size_changes(size: tuple[int, int]) -> None:
    width, height = size
    picture = fitted(Picture(wide(), 0, 0), 64, 64, "contain")
    result = Result(np.full((height, width, 3), 99, np.uint8), picture, 1, False, 0.0, 0)
    keep_bars(result)
    assert not result.image[: height // 4].any() and not result.image[-(height // 4) :].any()
    assert (result.image[height // 4 : -(height // 4)] == 99).all()


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (128, 64)])
def test_a_picture_that_was_fitted_is_fitted_again_without_its_bars(size: tuple[int, int]) -> None:
    """The size changed while it was on its way; a plane beside it goes the same way."""
    mask = {"mask": wide()[..., 0]}
    wanted = {"mask": KNOWN["mask"]}
    once = fitted(Picture(wide(), 0, 0, planes=mask), 64, 64, "contain", wanted)
    again, direct = fitted(once, *size, "contain", wanted), fitted(Picture(wide(), 0, 0), *size, "contain")
    assert again.place == direct.place
    for image in (again.image[..., 0], again.planes["mask"]):
        assert image.shape == (size[1], size[0])
        assert np.abs(image.astype(int) - direct.image[..., 0]).mean() < 12


def test_without_bars_nothing_is_touched() -> None:
    result = Result(
        np.full((64, 64, 3), 99, np.uint8), fitted(Picture(wide(), 0, 0), 64, 64, "cover"), 1, False, 0.0, 0
    )
    keep_bars(result)
    assert (result.image == 99).all()
