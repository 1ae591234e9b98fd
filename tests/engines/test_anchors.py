"""Pictures that are held to the look of anchors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from driftcam import Engine, ParameterError, Parameters
from driftcam.engines.api.anchors import ANCHOR_LENGTH, MAX_ANCHORS, Octaves, anchor_of, palette, swatches, unpacked
from driftcam.engines.memory.anchors import AnchorFrames, transport
from driftcam.engines.travel import between


def painting(seed: int, light: tuple[float, float, float], contrast: float = 25) -> np.ndarray:
    """Strokes of two sizes, far from black and white."""
    rng = np.random.default_rng(seed)
    fine, broad = rng.normal(size=(2, 96, 96, 3))
    strokes = cv2.GaussianBlur(fine, (0, 0), 1.5) * 4 + cv2.GaussianBlur(broad, (0, 0), 6) * 12
    return np.clip(strokes * contrast / strokes.std() + light, 30, 225).astype(np.uint8)


WARM, COLD = painting(1, (150, 110, 80)), painting(2, (90, 110, 150), 15)


def held(picture: np.ndarray, *anchors: np.ndarray, **changes: float) -> np.ndarray:
    frames = AnchorFrames()
    frames.use(Parameters(anchors=tuple(anchor_of(each) for each in anchors), **changes))
    picture = picture.copy()
    frames.hold(picture)
    return picture


def test_a_picture_is_left_alone_by_its_own_anchor_and_without_any() -> None:
    assert np.abs(held(WARM, WARM).astype(int) - WARM).max() <= 1
    assert (held(WARM) == WARM).all()
    assert (held(WARM, COLD, anchor_strength=0.0) == WARM).all()
    assert (held(WARM, COLD, strength=0.0) == WARM).all()  # nothing is painted there


@pytest.mark.parametrize("share", [0.25, 0.8, 1.0])
def test_the_palette_goes_its_share_of_the_way(share: float) -> None:
    """Means in a straight line, to half a level of rounding."""
    shown = held(WARM, COLD, anchor_strength=share).reshape(-1, 3).mean(0)
    wanted = (1 - share) * WARM.reshape(-1, 3).mean(0) + share * COLD.reshape(-1, 3).mean(0)
    assert shown == pytest.approx(wanted, abs=0.7)


def test_colours_vary_together_as_in_the_anchor() -> None:
    _, wanted = palette(COLD)
    _, shown = palette(held(WARM, COLD, anchor_strength=1.0))
    assert np.abs(shown - wanted).max() < 0.15 * np.abs(wanted).max()
    _, before = palette(WARM)
    assert np.abs(before - wanted).max() > 1.0 * np.abs(wanted).max()


@given(hnp.arrays(float, (2, 3, 3), elements=st.floats(-0.3, 0.3)))
def test_transport_is_the_monge_map_where_nothing_bounds_it(factors: np.ndarray) -> None:
    """T is symmetric and T·A·T = B, the closed form of optimal transport between normal distributions."""
    a, b = (factor @ factor.T + 0.02 * np.eye(3) for factor in factors)
    t = transport(a, b)
    assert np.allclose(t, t.T)
    stretch = np.linalg.eigvalsh(t)
    assert stretch.min() >= 0.5 - 1e-9 and stretch.max() <= 2 + 1e-9
    if stretch.min() > 0.501 and stretch.max() < 1.999:
        assert np.allclose(t @ a @ t, b, atol=1e-4)


def test_transport_of_axes_that_agree_is_the_ratio_of_their_deviations() -> None:
    t = transport(np.diag([0.04, 0.01, 0.02]), np.diag([0.01, 0.01, 0.045]))
    assert np.allclose(t, np.diag([0.5, 1.0, 1.5]), atol=1e-3)


def test_octaves_add_up_again_and_gains_act_on_theirs_alone() -> None:
    octaves, luma = Octaves(70, 90), np.random.default_rng(0).random((70, 90), np.float32)
    octaves.luma[:] = luma
    octaves.measure()
    assert np.abs(octaves.difference(np.ones(4))).max() < 1e-6
    octaves.luma[:] = luma
    octaves.measure()
    level = luma
    for _ in range(4):  # without any octave only the coarsest level is left
        level = _half(level)
    without = luma + octaves.difference(np.zeros(4))
    sizes = [(70, 90), (35, 45), (18, 23), (9, 12)]
    for height, width in sizes[::-1]:
        level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(without - level).max() < 1e-5


def _half(level: np.ndarray) -> np.ndarray:
    size = (level.shape[1] + 1) // 2, (level.shape[0] + 1) // 2
    return cv2.resize(level, size, interpolation=cv2.INTER_AREA)


def test_strokes_get_the_strength_of_the_anchors() -> None:
    def octaves(picture: np.ndarray) -> np.ndarray:
        return unpacked(anchor_of(picture))[2]

    soft = cv2.GaussianBlur(WARM, (0, 0), 1.2)
    before, after, wanted = octaves(soft), octaves(held(soft, WARM, anchor_strength=1.0)), octaves(WARM)
    # A gain is bounded, so that a blurred picture is not sharpened beyond all measure.
    reached = np.minimum(wanted, 1.6**2 * before * 1.2)
    assert (np.abs(np.log(after / reached)) < 0.35).all()
    assert (after > before).all()


def test_a_picture_attends_to_the_anchor_that_is_like_it() -> None:
    """Held to the far one alone it is another picture."""
    both, far = held(WARM, WARM, COLD), held(WARM, COLD)
    apart = [np.abs(each.astype(int) - WARM).mean() for each in (both, far)]
    assert apart[0] < 0.35 * apart[1]


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40).map(lambda s: (*s, 3))),
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * ANCHOR_LENGTH), min_size=1, max_size=MAX_ANCHORS),
    st.floats(0, 1),
)
def test_no_anchor_and_no_picture_does_any_harm(
    picture: np.ndarray, anchors: list[tuple[float, ...]], share: float
) -> None:
    """Anchors come from files of strangers, too."""
    frames = AnchorFrames()
    frames.use(Parameters(anchors=tuple(anchors), anchor_strength=share))
    frames.hold(picture)
    own = AnchorFrames()
    own.use(Parameters(anchors=(anchor_of(picture),)))
    again = picture.copy()
    own.hold(again)
    assert np.abs(again.astype(int) - picture).max() <= 2


@pytest.mark.parametrize("bad", [1, "x", [1], [[1.0] * 3], [[float("nan")] * ANCHOR_LENGTH], [["a"] * ANCHOR_LENGTH]])
def test_what_is_no_anchor_is_refused(bad: object) -> None:
    with pytest.raises(ParameterError, match="anchors"):
        Parameters(anchors=bad)
    with pytest.raises(ParameterError, match="take one away"):
        Parameters(anchors=[[0.1] * ANCHOR_LENGTH] * (MAX_ANCHORS + 1))


def test_kept_looks_fade_in_and_out() -> None:
    anchor, other = anchor_of(WARM), anchor_of(COLD)
    bare, kept = Parameters(), Parameters(anchors=(anchor,), anchor_strength=0.8)
    assert between(bare, kept, 0.25).anchor_strength == pytest.approx(0.2)
    assert between(kept, bare, 0.25).anchors == (anchor,)
    assert between(kept, bare, 0.25).anchor_strength == pytest.approx(0.6)
    half = between(kept, kept.replace(anchors=(other, anchor)), 0.5)
    assert half.anchors[0] == pytest.approx(np.add(anchor, other) / 2) and half.anchors[1] == pytest.approx(anchor)


def test_swatches_go_from_dark_to_light() -> None:
    sums = [sum(int(colour[k : k + 2], 16) for k in (1, 3, 5)) for colour in swatches(anchor_of(WARM))]
    assert sums == sorted(sums) and sums[0] < sums[2]


@pytest.mark.parametrize("pipeline", ["sequential", "stream"])
def test_another_scene_keeps_the_look_of_the_one_that_was_approved(pipeline: str) -> None:
    """With the embedded model: the mean colour of a dark scene comes near that of a light one; its edges stay."""
    rng = np.random.default_rng(3)
    scene = cv2.resize(rng.integers(0, 255, (12, 12, 3), np.uint8), (96, 96), interpolation=cv2.INTER_NEAREST)
    light, dark = scene // 2 + 127, scene // 4
    plain = {"width": 96, "height": 96, "steps": 2, "memory": 0.0}

    def paint(frame: np.ndarray, **changes: object) -> np.ndarray:
        engine = Engine(Parameters(**plain, **changes), pipeline=pipeline)
        return [engine.step(frame) for _ in range(3)][-1]

    approved, without = paint(light), paint(dark)
    with_it = paint(dark, anchors=(anchor_of(approved),), anchor_strength=1.0)
    apart = [np.abs(each.mean((0, 1)) - approved.mean((0, 1))).mean() for each in (with_it, without)]
    assert apart[0] < 0.35 * apart[1]
    assert np.corrcoef(with_it.mean(-1).ravel(), without.mean(-1).ravel())[0, 1] > 0.9
