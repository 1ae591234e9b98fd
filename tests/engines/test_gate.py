"""The similarity gate decides as published, never stalls, and wakes at once."""

from __future__ import annotations

import time

import numpy as np
import pytest

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.image.similarity import SimilarityGate, similarity, skip_probability


@pytest.fixture
def scene() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(40, 200, (8, 8)), np.ones((12, 12))).astype(np.uint8)


def noisy(picture: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("cosine", "threshold", "probability"),
    [(1.0, 0.98, 1.0), (0.99, 0.98, 0.5), (0.98, 0.98, 0.0), (0.2, 0.98, 0.0), (1.0, 0.0, 0.0), (1.0, 1.0, 1.0)],
)
def test_probability_is_the_papers(cosine: float, threshold: float, probability: float) -> None:
    assert skip_probability(cosine, threshold) == pytest.approx(probability)


def test_similarity_sees_content_and_brightness_but_not_noise(scene: np.ndarray) -> None:
    assert similarity(scene, scene) == pytest.approx(1.0)
    assert similarity(scene, noisy(scene, 2, 0)) > 0.99
    assert similarity(scene, np.roll(scene, 12, 1)) < 0.9
    assert similarity(scene, scene + np.uint8(40)) < 0.9
    blank = np.full_like(scene, 250)
    assert similarity(noisy(blank, 1, 0), noisy(blank, 1, 1)) > 0.7
    # the plain cosine of these two is .98
    assert similarity(blank, np.clip(scene.astype(int) + 150, 0, 255).astype(np.uint8)) < 0.5


def test_still_scene_is_skipped_up_to_the_bound(scene: np.ndarray) -> None:
    gate = SimilarityGate()
    decisions = [gate.skips(scene, threshold=0.98, max_skip=10) for _ in range(111)]
    assert decisions == [i % 11 != 0 for i in range(111)]


def test_draws_follow_the_probability(scene: np.ndarray) -> None:
    """With a reference that stays, the share of skips is the mean probability."""
    gate = SimilarityGate(1)
    skips, probabilities = [], []
    for seed in range(400):
        gate.reset()
        gate.skips(scene, threshold=0.99, max_skip=10)
        other = noisy(scene, 4.5, seed)
        skips.append(gate.skips(other, threshold=0.99, max_skip=10))
        probabilities.append(skip_probability(similarity(scene, other), 0.99))
    assert 0.2 < np.mean(probabilities) < 0.8
    assert np.mean(skips) == pytest.approx(np.mean(probabilities), abs=0.08)


def test_a_change_wakes_at_once(scene: np.ndarray) -> None:
    gate = SimilarityGate()
    for _ in range(5):
        gate.skips(scene, threshold=0.98, max_skip=1000)
    assert not gate.skips(np.roll(scene, 30, 0), threshold=0.98, max_skip=1000)
    assert gate.skips(np.roll(scene, 30, 0), threshold=0.98, max_skip=1000)


def test_slow_drift_is_measured_from_the_last_processed_frame(scene: np.ndarray) -> None:
    gate = SimilarityGate()
    fade = [np.clip(scene.astype(int) - i, 0, 255).astype(np.uint8) for i in range(60)]
    decisions = [gate.skips(frame, threshold=0.95, max_skip=1000) for frame in fade]
    assert 2 <= sum(not skip for skip in decisions) < 40


def test_another_size_and_a_reset_are_processed(scene: np.ndarray) -> None:
    gate = SimilarityGate()
    for picture in (scene, scene[:48], scene[:48, :40]):
        assert not gate.skips(picture, threshold=0.9, max_skip=10)
    gate.reset()
    assert not gate.skips(scene[:48, :40], threshold=0.9, max_skip=10)


def test_switched_off_and_no_skips_allowed(scene: np.ndarray) -> None:
    gate = SimilarityGate()
    assert not any(gate.skips(scene, threshold=0.0, max_skip=10) for _ in range(5))
    assert not any(gate.skips(scene, threshold=0.98, max_skip=0) for _ in range(5))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_bad_pictures_are_named(bad: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="luma"):
        SimilarityGate().skips(bad, threshold=0.9, max_skip=10)


def test_same_seed_same_decisions_and_no_sleep(scene: np.ndarray) -> None:
    frames = [noisy(scene, 4.5, seed) for seed in range(100)]
    started = time.process_time(), time.perf_counter()
    runs = []
    for _ in range(2):
        gate = SimilarityGate(5)
        runs.append([gate.skips(frame, threshold=0.99, max_skip=10) for frame in frames])
    assert runs[0] == runs[1]
    assert time.process_time() - started[0] < 1.0
    assert time.perf_counter() - started[1] < 5.0
