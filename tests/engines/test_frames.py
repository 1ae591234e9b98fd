"""Anything that is a picture is taken; anything else is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from driftcam.engines.api import ParameterError
from driftcam.engines.image.pixels import as_rgb


def test_rgb_bytes_are_not_copied():
    frame = np.zeros((4, 6, 3), np.uint8)
    assert as_rgb(frame) is frame or np.shares_memory(as_rgb(frame), frame)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 4)])
def test_grey_and_alpha_become_rgb(shape):
    frame = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    rgb = as_rgb(frame)
    assert rgb.shape == (4, 6, 3)
    expected = frame.reshape(4, 6, -1)
    np.testing.assert_array_equal(rgb[..., 2], expected[..., 2 if shape[-1] == 4 else 0])


def test_floats_are_scaled_and_rounded():
    frame = np.array([[[0.0, 0.5, 1.0]]], np.float32)
    assert as_rgb(frame).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ([[1, 2]], "frame"),
        (np.zeros((0, 4, 3), np.uint8), "frame shape"),
        (np.zeros((4, 4, 2), np.uint8), "frame shape"),
        (np.zeros((4,), np.uint8), "frame shape"),
        (np.zeros((2, 9000, 3), np.uint8), "frame shape"),
        (np.full((4, 4, 3), np.nan), "frame"),
        (np.zeros((4, 4, 3), np.int32), "frame type"),
        (np.array([["a"]]), "frame type"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(frame, field):
    with pytest.raises(ParameterError) as caught:
        as_rgb(frame)
    assert caught.value.field == field
