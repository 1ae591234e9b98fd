"""The latent grid stays on the scene."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftcam import Engine, Parameters
from driftcam.engines.image.shift import Shift
from driftcam.engines.motion.anchor import Anchor, _mismatch
from tests.engines.test_flow import texture, view

CELL = 8
REACH = CELL // 2 + 1


@pytest.mark.parametrize("speed", [(0.5, 0.0), (-1.0, 0.7), (3.0, -2.0), (-11.0, 5.0)])
def test_the_scene_moves_by_whole_cells_or_not_at_all(speed: tuple[float, float]) -> None:
    """A pan in pixels of the frame, twice those of the small picture, over a noisy scene."""
    scene, anchor = texture(900, 0), Anchor(CELL)
    jumps, places = np.zeros(2), []
    for k in range(40):
        moved = np.multiply(speed, k)
        anchor.follow(view(scene, *(moved / 2 * -1), noise=1, seed=k), scale=2.0)
        assert max(map(abs, anchor.offset)) <= REACH
        jumps += anchor.jump
        places.append(moved + anchor.offset - CELL * jumps)
    # rounding to pixels, and the error of the estimate
    assert np.abs(np.array(places) - places[0]).max() < 1.3, np.array(places)


def test_sudden_jumps_of_a_noisy_camera_are_found() -> None:
    """A tenth of the picture at once and back to the pan, which nothing before foretells."""
    wrong, frames = 0, 0
    for trial in range(12):
        rng, anchor = np.random.default_rng(trial), Anchor(CELL)
        scene = cv2.GaussianBlur(rng.integers(0, 256, (500, 500)).astype(np.float32), (0, 0), 2.5)
        scene = cv2.normalize(scene, scene, 0, 255, cv2.NORM_MINMAX)
        place, pan, step = np.zeros(2), rng.normal(0, 2, 2), np.zeros(2)
        for k in range(14):
            anchor.follow(view(scene, *(120 - place), noise=4, seed=k), scale=3.0)
            wrong += int(np.abs(anchor._motion - step).max() > 0.5)
            step = rng.normal(0, 9, 2) if k % 5 == 3 else pan
            place, frames = place + step, frames + 1
    assert wrong <= frames / 50, f"{wrong} of {frames} frames"


@pytest.mark.parametrize("darker", [-2, 0, 2])
def test_the_true_motion_explains_a_picture_best(darker: int) -> None:
    scene = texture(200, 0) // 2 + 50
    previous, current = view(scene, 0, 0, 96), view(scene, -6, 0, 96).astype(np.int16) - darker
    current = current.astype(np.uint8)
    scores = {shift: _mismatch(previous, current, np.array(shift)) for shift in ((0, 0), (6, 0), (-6, 0), (3, 2))}
    assert min(scores, key=scores.__getitem__) == (6, 0)
    assert scores[6, 0] == abs(darker)
    difference = np.abs(current.astype(np.int16) - previous)
    assert scores[0, 0] == pytest.approx(np.minimum(difference, 24).mean())


def test_a_still_noisy_scene_stays_where_it_is() -> None:
    scene, anchor = texture(320, 0), Anchor(CELL)
    for k in range(60):
        anchor.follow(view(scene, 0, 0, noise=4, seed=k), scale=3.0)
        assert anchor.offset == anchor.jump == (0, 0)


def test_a_thing_that_moves_for_itself_does_not_move_the_grid() -> None:
    scene, anchor = texture(320, 0), Anchor(CELL)
    for k in range(30):
        luma = view(scene, 0, 0).copy()
        luma[20:60, 2 * k : 2 * k + 30] = 255 - luma[20:60, 2 * k : 2 * k + 30]
        anchor.follow(luma, scale=3.0)
        assert anchor.offset == (0, 0)


def test_cuts_and_pictures_of_nothing_are_survived() -> None:
    rng, anchor = np.random.default_rng(0), Anchor(CELL)
    pictures = [np.full((64, 64), v, np.uint8) for v in (0, 255)]
    pictures += [rng.integers(0, 256, (64, 64), np.uint8) for _ in range(3)]
    pictures += [texture(200, seed)[:64, :64].copy() for seed in range(3)]
    for k in rng.integers(len(pictures), size=200):
        anchor.follow(pictures[k], scale=4.0)
        assert max(map(abs, anchor.offset)) <= REACH


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-REACH, REACH),
    st.integers(-REACH, REACH),
    st.integers(16, 40),
    st.integers(16, 40),
    st.integers(0, 31),
    st.integers(0, 31),
)
def test_shifting_there_and_back_restores_what_stayed_in_the_canvas(
    x: int, y: int, height: int, width: int, below: int, right: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    canvas, back = np.empty((height + below, width + right, 3), np.uint8), np.empty_like(image)
    Shift()(image, x, y, canvas)
    Shift()(canvas, -x, -y, back)
    inside = (
        slice(max(-y, 0), height - max(y - below, 0)),
        slice(max(-x, 0), width - max(x - right, 0)),
    )
    np.testing.assert_array_equal(back[inside], image[inside])


def test_a_shift_by_parts_of_a_pixel_is_that_of_the_signal() -> None:
    """Smooth waves, whose shift is known."""
    rows, columns = np.mgrid[:64, :80]

    def waves(x: float, y: float) -> np.ndarray:
        wave = 128 + 90 * np.sin((columns - x) * 0.35) * np.cos((rows - y) * 0.3)
        return np.repeat(wave[..., None], 3, 2)

    shift, image = Shift(), waves(0, 0).round().astype(np.uint8)
    moved = np.empty_like(image)
    for x, y in ((0.25, 0.0), (-1.75, 2.5), (4.9375, -0.0625), (0.0, 3.0)):
        shift(image, x, y, moved)
        error = np.abs(moved.astype(float) - waves(x, y))[8:-8, 8:-8]
        assert error.max() < 3 and error.mean() < 0.7, (x, y)


def pan_change(parameters: dict | None = None, **options) -> float:
    """Mean change of the painting along a pan of one pixel a frame over a photograph."""
    photo = cv2.imread(str(Path(__file__).parents[1] / "data" / "astronaut.jpg"))[..., ::-1]
    engine = Engine(Parameters(width=192, height=192, **(parameters or {})), **options)
    outputs = [engine.step(np.ascontiguousarray(photo[:192, 60 + k : 252 + k])).astype(int) for k in range(24)]
    changes = [np.abs(b[16:-16, 16:-17] - a[16:-16, 17:-16]).mean() for a, b in itertools.pairwise(outputs)]
    return float(np.mean(changes[4:]))


def test_a_slow_pan_keeps_its_strokes() -> None:
    """Less than half the change that fixed noise makes, where a grid that stays on the screen makes more."""
    ours = pan_change()
    assert ours < 0.5 * pan_change({"noise": "fixed"})
    assert ours < 0.5 * pan_change(anchored=False)


def test_the_picture_stays_where_the_scene_is() -> None:
    """The reconstruction at strength 0 lies on the input, however the grid was moved."""
    scene = np.stack([texture(320, 1).clip(0, 255).astype(np.uint8)] * 3, -1)
    engine = Engine(Parameters(width=128, height=96, strength=0.0))
    output = frame = np.empty(0)
    for k in range(12):
        frame = np.ascontiguousarray(scene[40 + k : 136 + k, 3 * k : 3 * k + 128])
        output = engine.step(frame)
    assert engine._canvas.anchor.offset != (0, 0)
    error = [np.abs(np.roll(output, s, 1).astype(int) - frame)[8:-8, 8:-8].mean() for s in (-2, -1, 0, 1, 2)]
    assert int(np.argmin(error)) == 2
