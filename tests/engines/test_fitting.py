"""A picture of another shape in the model's: what is cut, what is added, and what the engine makes of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.engines.api import Parameters
from driftcam.engines.api.fitting import blacken_bars, fit_image, fit_plane, part_and_place, place_in
from driftcam.engines.api.parameters import TABLE
from driftcam.engines.engine import Engine

FITS = tuple(TABLE["fit"].choices)
side = st.integers(1, 90)


def square_amid(width: int, height: int, side: int) -> np.ndarray:
    image = np.full((height, width, 3), 50, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    image[top : top + side, left : left + side] = 200
    return image


@given(side, side, side, side, st.sampled_from(FITS), st.integers(1, 4))
def test_a_picture_of_any_shape_fits_any_other(
    w: int, h: int, width: int, height: int, fit: str, channels: int
) -> None:
    image = np.full((h, w, channels), 9, np.uint8)
    fitted = fit_image(image, width, height, fit)
    assert fitted.shape == (height, width, channels)
    place = place_in(image, width, height, fit)
    assert (fitted == 9).all() if place is None else (place.of(fitted) == 9).all()
    assert fitted.sum() == 9 * channels * (place.width * place.height if place else width * height)
    out = np.full_like(fitted, 77)
    assert fit_image(image, width, height, fit, out=out) is out and (out == fitted).all()


@given(side, side, side, side, st.sampled_from(FITS))
def test_part_and_place_keep_the_shape_unless_it_is_stretched(
    w: int, h: int, width: int, height: int, fit: str
) -> None:
    part, place = part_and_place((w, h), (width, height), fit)
    assert part.left >= 0 and part.left + part.width <= w and part.top >= 0 and part.top + part.height <= h
    assert place.left >= 0 and place.left + place.width <= width and place.top + place.height <= height
    if fit != "contain":
        assert place == (0, 0, width, height)
    if fit != "cover":
        assert part == (0, 0, w, h)
    if fit != "stretch":
        # The same scale along and across, but for the side that came to a fraction of a pixel.
        error = abs(part.width * place.height - part.height * place.width)
        assert error <= max(part.width, part.height, place.width, place.height)


def test_covering_cuts_both_sides_evenly_and_stretches_nothing() -> None:
    image = np.zeros((40, 160, 3), np.uint8)
    image[:, 60:100] = 200  # the square in the middle
    assert (fit_image(image, 40, 40) == 200).all()


def test_containing_shows_everything_between_even_bars() -> None:
    fitted = fit_image(np.full((40, 160, 3), 200, np.uint8), 40, 40, "contain")
    assert (fitted[15:25] == 200).all() and not fitted[:15].any() and not fitted[25:].any()


@pytest.mark.parametrize(("fit", "size"), [("cover", (32, 32)), ("contain", (16, 16)), ("stretch", (16, 32))])
def test_a_square_keeps_its_shape_unless_it_is_stretched(fit: str, size: tuple[int, int]) -> None:
    fitted = fit_image(square_amid(128, 64, 32), 64, 64, fit)[..., 0]
    inside = fitted > 125
    assert (inside.any(0).sum(), inside.any(1).sum()) == size


@pytest.mark.parametrize("fit", FITS)
def test_large_steps_average_and_small_ones_interpolate_as_a_float_reference(fit: str) -> None:
    """Against exact area means, four source pixels to one."""
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3)).astype(np.uint8)
    width, height = {"cover": (32, 16), "contain": (32, 32), "stretch": (32, 16)}[fit]
    fitted = fit_image(image, width, height, fit)
    means = image.reshape(16, 4, 32, 4, 3).mean((1, 3))
    place = place_in(image, width, height, fit)
    np.testing.assert_allclose(place.of(fitted) if place else fitted, means, atol=0.51)


def test_bars_are_what_is_beside_the_place() -> None:
    image = np.full((30, 50, 3), 9, np.uint8)
    place = place_in(np.zeros((10, 50, 3), np.uint8), 50, 30, "contain")
    assert place == (0, 10, 50, 10)
    blacken_bars(image, place)
    assert not image[:10].any() and not image[20:].any() and (image[10:20] == 9).all()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Parameters(width=64, height=64, strength=0.0, steps=1))


@pytest.mark.parametrize("fit", FITS)
def test_the_engine_as_a_library_fits_as_it_is_told(engine: Engine, fit: str) -> None:
    frame = square_amid(128, 64, 32)
    engine.update(engine.parameters.replace(fit=fit))
    for _ in range(3):
        result = engine.step(frame)
    wanted = fit_image(frame, 64, 64, fit).astype(float)
    other = next(each for each in FITS if each != fit)
    far = np.abs(result - fit_image(frame, 64, 64, other).astype(float)).mean()
    assert np.abs(result - wanted).mean() < 0.6 * far
    if fit == "contain":
        assert not result[:16].any() and not result[48:].any(), "the model paints nothing on the bars"
        assert (result[16:48].mean((1, 2)) > 20).all()


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("scale", [1, 2, 0.5])
def test_a_plane_of_any_size_shows_what_its_picture_shows(fit: str, scale: float) -> None:
    picture = np.zeros((80, 160, 3), np.uint8)
    picture[20:60, 40:120] = 255
    plane = cv2.resize(picture[..., 0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    shown = fit_image(picture, 96, 96, fit)[..., 0].astype(int)
    for nearest in (False, True):
        fitted = fit_plane(plane, (160, 80), 96, 96, fit, nearest=nearest)
        assert np.abs(fitted.astype(int) - shown).mean() < 6
        assert not nearest or set(np.unique(fitted)) <= {0, 255}


def test_a_plane_that_fits_is_not_copied_and_a_pixel_is_enough_for_one() -> None:
    plane = np.full((8, 8), 60_000, np.uint16)
    assert fit_plane(plane, (8, 8), 8, 8, "cover") is plane
    assert (fit_plane(plane[:1, :1], (640, 480), 64, 64, "cover") == 60_000).all()
