"""The small grey picture of a frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from driftcam.engines.image.luma import WorkingLuma, working_size


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (1920, 1080), (64, 64), (33, 4000)])
def test_working_size_is_small_and_keeps_the_shape(size: tuple[int, int]) -> None:
    height, width = working_size(*size)
    assert max(height, width) <= 128 and min(height, width) >= 32
    if min(size) / max(size) > 0.3:
        assert height / width == pytest.approx(size[0] / size[1], rel=0.05)


def test_working_luma_of_colour_and_grey() -> None:
    frame = np.zeros((96, 160, 3), np.uint8)
    frame[..., 1] = 200
    make, out = WorkingLuma(), np.empty((48, 80), np.uint8)
    assert make.convert(frame, out) is out
    np.testing.assert_allclose(out, 200 * 0.587, atol=1)
    make.convert(frame[..., 1], out)
    np.testing.assert_array_equal(out, 200)
    make.convert(frame[:31, :45], np.empty((32, 32), np.uint8))


@pytest.mark.parametrize("size", [(256, 256), (384, 384), (360, 640), (1152, 2048), (1080, 1920)])
def test_colour_is_shrunk_as_opencv_does_it(size: tuple[int, int]) -> None:
    """Whole ratios have a way of their own; noise on black and white rounds in every way there is."""
    height, width = working_size(*size)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    frame[: size[0] // 3] = 255
    frame[-size[0] // 3 :] //= 128
    out = WorkingLuma().convert(frame, np.empty((height, width), np.uint8))
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(out, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
