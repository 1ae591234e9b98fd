"""Clips, cameras and the test pattern."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from driftcam.daemon.sources import webcam
from driftcam.daemon.sources.clip import ClipSource
from driftcam.daemon.sources.pacing import Pace
from driftcam.daemon.sources.pattern import PatternSource
from driftcam.daemon.sources.webcam import WebcamSource
from driftcam.engines.api import ParameterError
from tests.daemon.conftest import grey_of, write_clip


def silent(line: str) -> None:
    raise AssertionError(f"nothing should be said, not {line!r}")


def test_a_clip_tells_its_shape_rate_and_length(tmp_path: Path) -> None:
    info = ClipSource(str(write_clip(tmp_path / "a.mp4", 12, size=(96, 64), fps=12)), silent).info
    assert (info.width, info.height, info.fps, info.frames, info.waits) == (96, 64, 12.0, 12, True)


@pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))])
def test_a_clip_from_a_phone_is_turned_upright(tmp_path: Path, rotation: int, corner: tuple[int, int]) -> None:
    """The bright corner, upper left as stored, lies where a player shows it: the turn is counter-clockwise."""
    source = ClipSource(str(write_clip(tmp_path / "a.mp4", 2, size=(96, 64), rotation=rotation)), silent)
    image = next(source.frames(threading.Event(), paced=False)).image
    assert image.shape[:2] == ((96, 64) if rotation % 180 else (64, 96))
    assert (source.info.height, source.info.width) == image.shape[:2]
    row, column = (place * (side - 1) for place, side in zip(corner, image.shape[:2], strict=True))
    assert image[row, column].min() > 230


def test_a_paced_clip_keeps_its_own_speed_and_starts_again(tmp_path: Path) -> None:
    source = ClipSource(str(write_clip(tmp_path / "a.mp4", 5, fps=50)), silent)
    stop, start = threading.Event(), time.monotonic()
    pictures = []
    for picture in source.frames(stop, paced=True):
        pictures.append(picture)
        if len(pictures) == 12:
            stop.set()
    assert time.monotonic() - start > 0.2
    times = [picture.pts for picture in pictures]
    assert times == sorted(set(times))
    greys = [int(picture.image[-8, -8, 0]) for picture in pictures]
    np.testing.assert_allclose(greys, [grey_of(n % 5) for n in range(12)], atol=3)


def test_a_clip_that_vanishes_ends_instead_of_spinning(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 3, fps=100)
    said: list[str] = []
    frames = ClipSource(str(path), said.append).frames(threading.Event(), paced=True)
    next(frames)
    path.unlink()
    assert len(list(frames)) == 2
    assert "cannot be read" in said[0]


def test_the_pattern_moves_and_never_repeats_a_time() -> None:
    frames = PatternSource().frames(threading.Event(), paced=False)
    first, second = next(frames), next(frames)
    assert (first.image != second.image).any()
    assert second.pts - first.pts == round(1e9 / 30)


def test_who_is_late_goes_on_from_there() -> None:
    pace = Pace(threading.Event())
    pace.wait(0)
    time.sleep(0.3)
    pace.wait(10_000_000)  # late by far: now is its moment
    start = time.monotonic()
    pace.wait(60_000_000)
    assert time.monotonic() - start > 0.03


class Camera:
    """A camera in the place of `cv2.VideoCapture`: each number is a frame of that brightness, None a failed read."""

    def __init__(self, script: list[int | None]) -> None:
        self.script, self.released = script, False

    def read(self) -> tuple[bool, np.ndarray | None]:
        value = self.script.pop(0) if self.script else None
        return (False, None) if value is None else (True, np.full((48, 64, 3), value, np.uint8))

    def get(self, what: int) -> float:
        return 25.0 if what == cv2.CAP_PROP_FPS else 0.0

    def release(self) -> None:
        self.released = True


def test_an_unplugged_camera_is_told_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webcam, "RETRY_S", 0.01)
    cameras = [Camera([1, 2, 3, None]), None, Camera([]), Camera([4, 5])]
    opened = iter(cameras)
    said: list[str] = []
    source = WebcamSource(0, said.append, opener=lambda index, asked: next(opened))
    assert (source.info.width, source.info.height, source.info.fps, source.info.waits) == (64, 48, 25.0, False)
    stop = threading.Event()
    seen = []
    for picture in source.frames(stop, paced=True):
        seen.append(int(picture.image[0, 0, 0]))
        if len(seen) == 4:
            stop.set()
    assert seen == [2, 3, 4, 5]
    assert [line.split(": ")[1].split(";")[0] for line in said] == ["the camera is gone", "the camera is back"]
    assert all(camera.released for camera in cameras if camera)


def test_a_camera_that_stays_away_does_not_delay_a_stop() -> None:
    cameras = iter([Camera([1])])
    source = WebcamSource(0, lambda line: stop.set(), opener=lambda index, asked: next(cameras, None))
    stop = threading.Event()
    start = time.monotonic()
    assert list(source.frames(stop, paced=True)) == []
    assert time.monotonic() - start < webcam.RETRY_S


def test_a_camera_that_opens_but_shows_nothing_is_refused() -> None:
    camera = Camera([])
    with pytest.raises(ParameterError, match="no camera that gives pictures at /dev/video3"):
        WebcamSource(3, silent, opener=lambda index, asked: camera)
    assert camera.released
