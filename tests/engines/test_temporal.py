"""The noise of a stream as the engine asks for it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import stats

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.motion.flow import FlowEstimator, Motion
from driftcam.engines.motion.stage import FrameMotion, MotionStage
from driftcam.engines.noise.temporal import TemporalNoise
from tests.engines.test_flow import texture, view
from tests.engines.test_noise_warp import whiteness

CLIP = Path(__file__).parents[2] / "scripts" / "clips" / "bigbuckbunny.mp4"


class Jitter:
    """A flow estimator that sees nothing but its own error of .1 pixels."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def estimate(self, previous: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        forward, backward = self._rng.normal(0, 0.1, (2, *current.shape, 2)).astype(np.float32)
        return forward, backward

    def reset(self) -> None:
        pass


class Drifting(TemporalNoise):
    """Noise that reads a motion stage of its own, as in the engine."""

    def __init__(self, *sizes: int, flow: FlowEstimator | None = None, seed: int = 0) -> None:
        height, width, channels, steps, *rest = sizes
        super().__init__(height, width, channels, steps, *(rest or [seed]))
        self.stage = MotionStage((height, width), flow=flow)

    def follow(
        self, luma: np.ndarray, *, mode: str = "warped", jump: tuple[int, int] = (0, 0), **rest: float
    ) -> np.ndarray:
        if mode != "warped":
            self.stage.reset()
        motion = self.stage.advance(luma, jump) if mode == "warped" else self.stage.motion
        return self.advance(motion, mode=mode, **rest)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return texture(320, 0)


def test_shape_type_and_independence_of_the_steps(scene: np.ndarray) -> None:
    noise = Drifting(24, 20, 4, 3, 0)
    for i in range(4):
        out = noise.follow(view(scene, 2 * i, i))
        assert out.shape == (3, 4, 24, 20) and out.dtype == np.float32
        assert abs(out.mean()) < 0.06 and abs(out.std() - 1) < 0.04
    assert abs(correlation(out[0], out[1])) < 0.07 and abs(correlation(out[1], out[2])) < 0.07


def test_pan_drifts_with_the_picture_through_the_whole_path(scene: np.ndarray) -> None:
    """2 cells in 16 frames, found by the flow: the noise is where the picture is, and not where it was."""
    noise = Drifting(32, 32, 8, 1, 0)
    outputs = [noise.follow(view(scene, -0.5 * i, 0), refresh=0.0).copy() for i in range(17)]
    first, last = outputs[0], outputs[-1]
    assert correlation(first[..., 4:-8, 4:-8], last[..., 4:-8, 6:-6]) > 0.75
    assert abs(correlation(first[..., 4:-8, 4:-8], last[..., 4:-8, 4:-8])) < 0.2


def test_slow_pan_by_known_flow_for_40_frames() -> None:
    noise = Drifting(24, 24, 4, 2, 0)
    forward = np.full((96, 96, 2), (0.4, 0.0), np.float32)
    first = noise.advance().copy()
    for _ in range(40):
        last = noise.advance(FrameMotion(flow=Motion(forward, -forward, np.ones((96, 96), np.float32))))
    assert correlation(first[..., 3:-7], last[..., 7:-3]) >= 0.95


def test_still_scene_with_jittered_flow_for_50_frames(scene: np.ndarray) -> None:
    noise = Drifting(24, 24, 4, 1, 0, flow=Jitter())
    first = noise.follow(view(scene, 0, 0, noise=1), refresh=0.0).copy()
    for i in range(50):
        last = noise.follow(view(scene, 0, 0, noise=1, seed=i), refresh=0.0)
    assert correlation(first, last) >= 0.95


def test_still_scene_under_sensor_noise_keeps_its_noise(scene: np.ndarray) -> None:
    noise = Drifting(24, 24, 4, 1, 0)
    first = noise.follow(view(scene, 0, 0, noise=3), refresh=0.0).copy()
    for i in range(50):
        last = noise.follow(view(scene, 0, 0, noise=3, seed=i), refresh=0.0)
    assert correlation(first, last) >= 0.95


def test_motion_too_slow_to_see_between_two_frames_adds_up(scene: np.ndarray) -> None:
    """.04 working pixels a frame: 4 pixels, one cell, in 100 frames."""
    noise = Drifting(32, 32, 8, 1, 0)
    first = noise.follow(view(scene, 0, 0), refresh=0.0).copy()
    for i in range(1, 101):
        last = noise.follow(view(scene, -0.04 * i, 0), refresh=0.0)
    moved = correlation(first[..., 4:-4, 4:-8], last[..., 4:-4, 5:-7])
    assert moved > 0.6 and moved > correlation(first[..., 4:-4, 4:-8], last[..., 4:-4, 4:-8])


def test_a_cut_brings_fresh_noise(scene: np.ndarray) -> None:
    noise = Drifting(24, 24, 4, 1, 0)
    other = texture(320, 9)
    before = noise.follow(view(scene, 0, 0)).copy()
    after = noise.follow(view(other, 0, 0)).copy()
    assert noise.stage.motion.cut and abs(correlation(before, after)) < 0.1
    following = noise.follow(view(other, 0, 0), refresh=0.0)
    assert not noise.stage.motion.cut and correlation(after, following) > 0.99


def test_500_frames_of_estimated_flow_stay_white() -> None:
    """A camera that wanders over a scene with an object crossing it, every estimate as it comes."""
    scene, seeds = texture(400, 1), 6
    noises = [Drifting(12, 12, 4, 1, seed) for seed in range(seeds)]
    rng, position = np.random.default_rng(0), np.zeros(2)
    outputs = []
    for i in range(500):
        position = np.clip(position + rng.normal(0, 1, 2), -30, 30)
        luma = view(scene, *position, side=64, noise=2, seed=i)
        luma[20:36, i % 48 : i % 48 + 16] = 200 - luma[20:36, i % 48 : i % 48 + 16] // 2
        outputs = [noise.follow(luma, refresh=0.05).copy() for noise in noises]
    x = np.concatenate(outputs).astype(np.float64)
    n = x.size
    assert abs(x.mean()) < 3 / np.sqrt(n) and abs(x.std() - 1) < 3 / np.sqrt(2 * n)
    assert abs(stats.kurtosis(x, axis=None)) < 3 * np.sqrt(24 / n)
    assert abs((x[..., 1:] * x[..., :-1]).mean()) < 3 / np.sqrt(n)
    assert abs((x[..., 1:, :] * x[..., :-1, :]).mean()) < 3 / np.sqrt(n)
    assert stats.kstest(x.ravel(), "norm").pvalue > 0.01


def test_500_frames_of_a_real_clip_stay_white() -> None:
    """Deviations in standard errors of mean, std, kurtosis and lag-1 correlation, on the readout of 20 channels."""
    capture = cv2.VideoCapture(str(CLIP))
    lumas = []
    while (item := capture.read())[0]:
        lumas.append(cv2.resize(cv2.cvtColor(item[1], cv2.COLOR_BGR2GRAY), (128, 72), interpolation=cv2.INTER_AREA))
    there_and_back = lumas + lumas[-2:0:-1]
    noise = Drifting(18, 32, 20, 2, seed=3)
    for k in range(500):
        read = noise.follow(there_and_back[k % len(there_and_back)])
    deviations = whiteness(read.reshape(40, 18, 32))
    assert all(abs(value) < 3 for value in deviations.values()), deviations
    assert stats.kstest(read.ravel(), "norm").pvalue > 0.01


def test_fixed_independent_and_back(scene: np.ndarray) -> None:
    noise = Drifting(24, 24, 4, 1, 0)
    fixed = [noise.follow(view(scene, 5 * i, 0), mode="fixed").copy() for i in range(3)]
    np.testing.assert_array_equal(fixed[0], fixed[2])
    free = [noise.follow(view(scene, 0, 0), mode="independent").copy() for i in range(3)]
    assert abs(correlation(free[0], free[1])) < 0.1 and abs(correlation(free[1], fixed[0])) < 0.1
    assert abs(free[0].std() - 1) < 0.05
    np.testing.assert_array_equal(noise.follow(view(scene, 50, 0), mode="warped"), fixed[0])


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9, 1.0])
def test_degradation_is_the_papers_mix(scene: np.ndarray, gamma: float) -> None:
    noise = Drifting(48, 48, 8, 1, 0)
    clean = noise.follow(view(scene, 0, 0)).copy()
    mixed = [noise.follow(view(scene, 0, 0), refresh=0.0, degradation=gamma).copy() for _ in range(2)]
    expected = (1 - gamma) / np.hypot(1 - gamma, gamma)
    assert abs(mixed[0].std() - 1) < 0.03
    assert correlation(clean, mixed[0]) == pytest.approx(expected, abs=0.03)
    assert correlation(*mixed) == pytest.approx(expected**2, abs=0.03)


def test_the_same_seed_gives_the_same_stream(scene: np.ndarray) -> None:
    streams = []
    for seed in (1, 1, 2):
        noise = Drifting(16, 16, 4, 2, seed)
        streams.append([noise.follow(view(scene, 3 * i, i), degradation=0.2).copy() for i in range(6)])
    np.testing.assert_array_equal(streams[0], streams[1])
    assert abs(correlation(streams[0][-1], streams[2][-1])) < 0.1
    noise = Drifting(16, 16, 4, 2, 1)
    again = [noise.follow(view(scene, 3 * i, i), degradation=0.2).copy() for i in range(6)]
    np.testing.assert_array_equal(streams[0], again)


def test_sizes_may_change_in_mid_stream(scene: np.ndarray) -> None:
    noise = Drifting(16, 16, 4, 1, 0)
    for side in (128, 96, 64, 128):
        for i in range(3):
            assert np.isfinite(noise.follow(view(scene, i, 0, side=side))).all()
    noise.resize(9, 31, 4, 2)
    assert noise.follow(view(scene, 0, 0)).shape == (2, 4, 9, 31)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("luma", lambda noise: noise.follow(np.zeros((64, 64), np.float32))),
        ("luma", lambda noise: noise.follow(np.zeros((64, 64, 3), np.uint8))),
        ("luma", lambda noise: noise.follow(np.zeros((0, 64), np.uint8))),
        ("noise", lambda noise: noise.follow(np.zeros((64, 64), np.uint8), mode="wrapped")),
        ("steps", lambda noise: noise.resize(8, 8, 4, 0)),
        ("cells_width", lambda noise: noise.resize(8, -1, 4, 1)),
        ("readout", lambda noise: TemporalNoise(8, 8, 1, 1, 0, readout="sharp")),
    ],
)
def test_bad_input_is_named_and_the_stream_goes_on(scene: np.ndarray, field: str, call) -> None:
    noise = Drifting(16, 16, 4, 1, 0)
    before = noise.follow(view(scene, 0, 0), refresh=0.0).copy()
    with pytest.raises(ParameterError) as caught:
        call(noise)
    assert caught.value.field == field
    np.testing.assert_array_equal(noise.follow(view(scene, 0, 0), refresh=0.0), before)


def test_timings_name_the_parts(scene: np.ndarray) -> None:
    noise = Drifting(16, 16, 4, 1, 0)
    noise.follow(view(scene, 0, 0))
    noise.follow(view(scene, 2, 0))
    timings = noise.stage.timings | noise.timings
    assert set(timings) == {"flow", "gate", "warp", "readout"}
    assert all(value > 0 for value in timings.values())


def test_memory_is_flat_over_2000_frames(scene: np.ndarray) -> None:
    noise = Drifting(8, 8, 4, 2, 0)
    frames = [view(scene, 3 * i, i, side=48) for i in range(8)]

    def run(count: int) -> int:
        """Bytes that the engine's own files hold afterwards: threads of other tests may allocate meanwhile."""
        for i in range(count):
            noise.follow(frames[abs(i % 14 - 7)], degradation=0.1)
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/driftcam/engines/*")])
        return sum(each.size for each in ours.statistics("filename"))

    tracemalloc.start()
    try:
        early = run(200)
        late = run(2000)
    finally:
        tracemalloc.stop()
    assert early > 0 and late - early < 4096, (early, late)
    assert late < 1_000_000


def test_any_sequence_of_pictures_is_survived(scene: np.ndarray) -> None:
    """Pure noise, black, white, checkerboards, cuts and wild jumps in random order."""
    rng, noise = np.random.default_rng(0), Drifting(12, 12, 2, 1, 0)
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    makers = (
        lambda: rng.integers(0, 256, (64, 64), dtype=np.uint8),
        lambda: np.zeros((64, 64), np.uint8),
        lambda: np.full((64, 64), 255, np.uint8),
        lambda: board,
        lambda: view(scene, *rng.uniform(-30, 30, 2), side=64),
        lambda: np.ascontiguousarray(view(scene, 0, 0, side=64)[::-1]),
    )
    for _ in range(300):
        out = noise.follow(makers[rng.integers(len(makers))](), refresh=rng.uniform())
        assert np.isfinite(out).all() and 0.6 < out.std() < 1.4


def test_small_things_leave_the_noise_where_it_is(scene: np.ndarray) -> None:
    """A thing of three cells crosses a still scene without stirring it; one of eight takes its noise along."""
    for cells, carried in ((3, False), (8, True)):
        noise = Drifting(32, 32, 8, 1, 0)
        luma = view(scene, 0, 0)
        thing = view(texture(320, 5), 0, 0)[: 4 * cells, : 4 * cells]
        outputs = []
        for i in range(9):
            picture = luma.copy()
            picture[48 : 48 + 4 * cells, 24 + 4 * i : 24 + 4 * i + 4 * cells] = thing
            outputs.append(noise.follow(picture).copy())
        assert np.array_equal(outputs[0], outputs[-1]) != carried
        if carried:
            inside = outputs[0][..., 14:18, 8:12], outputs[-1][..., 14:18, 16:20]
            assert correlation(*inside) > 0.6


def test_a_known_jump_carries_the_noise_by_whole_cells(scene: np.ndarray) -> None:
    noise = Drifting(32, 32, 8, 1, 0)
    before = noise.follow(view(scene, 0, 0)).copy()
    after = noise.follow(view(scene, 8, -4), jump=(-2, 1))
    np.testing.assert_allclose(after[..., 4:-4, 4:-6], before[..., 3:-5, 6:-4], atol=1e-5)
