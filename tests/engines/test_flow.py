"""Flow, its gate and its confidence on pictures whose motion is known."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from driftcam.engines.motion.flow import DisFlow, FlowGate, Motion, scale_flow


def texture(side: int, seed: int) -> np.ndarray:
    """A smooth random picture, float32, mean 128."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), s) * s for s in (2, 5, 12)]
    picture = np.sum(layers, 0)
    return (picture - picture.mean()) / picture.std() * 40 + 128


def view(scene: np.ndarray, x: float, y: float, side: int = 128, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """The scene as seen by a camera at (x, y)."""
    shift = np.float32([[1, 0, -x - 40], [0, 1, -y - 40]])
    picture = cv2.warpAffine(scene, shift, (side, side), flags=cv2.INTER_CUBIC)
    picture = picture + np.random.default_rng(seed).normal(0, noise, picture.shape)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def motion(previous: np.ndarray, current: np.ndarray, gate: FlowGate | None = None) -> Motion:
    forward, backward = DisFlow().estimate(previous, current)
    return (gate or FlowGate(*current.shape)).apply(previous, current, forward, backward)


@pytest.mark.parametrize("shift", [(1.0, 0.0), (0.6, -2.3), (4.0, 3.0)])
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_pan_is_found_and_trusted(shift: tuple[float, float], noise: float) -> None:
    scene = texture(256, 0)
    result = motion(view(scene, 0, 0, noise=noise), view(scene, *shift, noise=noise, seed=1))
    inner = np.s_[12:-12, 12:-12]
    # the camera goes right, the picture goes left
    np.testing.assert_allclose(np.median(result.forward[inner], (0, 1)), np.negative(shift), atol=0.12)
    np.testing.assert_allclose(np.median(result.backward[inner], (0, 1)), shift, atol=0.12)
    assert (result.confidence[inner] > 0.9).mean() > 0.95
    assert not result.cut and not result.still


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0, 6.0])
def test_still_scene_stays_still_under_sensor_noise(noise: float) -> None:
    scene, gate = texture(256, 1), FlowGate(128, 128)
    for i in range(10):
        result = motion(view(scene, 0, 0, noise=noise, seed=i), view(scene, 0, 0, noise=noise, seed=i + 1), gate)
        assert (result.forward == 0).mean() > 0.99 and (result.backward == 0).mean() > 0.99
        assert result.confidence.min() > 0.9 and not result.cut


def test_jittered_flow_on_a_still_scene_is_gated() -> None:
    picture, gate = view(texture(256, 1), 0, 0), FlowGate(128, 128)
    rng = np.random.default_rng(0)
    for _ in range(20):
        jitter = rng.normal(0, 0.1, (2, 128, 128, 2)).astype(np.float32)
        assert gate.apply(picture, picture, *jitter).still


def test_flat_part_of_a_pan_follows_the_pan() -> None:
    scene = texture(256, 2)
    scene[80:140, 80:140] = 128
    result = motion(view(scene, 0, 0, noise=1), view(scene, 3, 0, noise=1, seed=1))
    assert (result.backward[45:95, 45:95, 0] > 1).mean() > 0.9


def test_only_the_square_moves_and_what_it_uncovers_is_not_trusted() -> None:
    scene, square = texture(256, 3), texture(64, 4)[:40, :40]
    frames = []
    for x in (40, 46):
        picture = view(scene, 0, 0)
        picture[40:80, x : x + 40] = np.clip(square, 0, 255).astype(np.uint8)
        frames.append(picture)
    result = motion(*frames)
    moved = np.hypot(*np.moveaxis(result.backward, -1, 0)) > 1
    assert moved[46:74, 52:80].mean() > 0.9
    assert moved[:28].mean() < 0.02 and moved[92:].mean() < 0.02
    assert result.confidence[44:76, 41:45].mean() < 0.75
    assert result.confidence[46:74, 54:80].mean() > 0.9


def test_cuts_are_found_and_nothing_else_is_one() -> None:
    scenes = [texture(256, seed) for seed in range(6)]
    for before, after in itertools.pairwise(scenes):
        assert motion(view(before, 0, 0), view(after, 0, 0)).cut
        assert not motion(view(before, 0, 0), view(before, 7, 5)).cut
        # a lamp is switched on
        assert not motion(view(before, 0, 0), view(before * 0.8 + 45, 1, 0)).cut
    assert not motion(np.full((64, 64), 9, np.uint8), np.full((64, 64), 12, np.uint8)).cut


def test_hysteresis_keeps_an_open_gate_open() -> None:
    """The same small flow passes after larger motion and is stopped without it."""
    scene = texture(256, 5)
    pictures = view(scene, 0, 0), view(scene, 0.11, 0)
    exact = [np.full((128, 128, 2), (sign * 0.11, 0), np.float32) for sign in (-1, 1)]
    gate = FlowGate(128, 128)
    assert gate.apply(*pictures, *(f.copy() for f in exact)).still
    large = [f * 10 for f in exact]
    gate.apply(view(scene, 0, 0), view(scene, 1.1, 0), *large)
    assert not gate.apply(*pictures, *(f.copy() for f in exact)).still


def test_flow_is_scaled_by_the_ratio_of_each_axis() -> None:
    flow = np.full((30, 40, 2), (2.0, 3.0), np.float32)
    out = np.empty((60, 160, 2), np.float32)
    assert scale_flow(flow, 60, 160, out) is out
    np.testing.assert_allclose(out, np.broadcast_to(np.float32([8, 6]), out.shape))
    same = np.empty_like(flow)
    np.testing.assert_array_equal(scale_flow(flow, 30, 40, same), flow)


def test_sizes_of_frames_may_change() -> None:
    scene, dis = texture(256, 0), DisFlow()
    for side in (128, 96, 128):
        pictures = view(scene, 0, 0, side), view(scene, 1, 0, side)
        forward, backward = dis.estimate(*pictures)
        assert forward.shape == backward.shape == (side, side, 2)
