"""Warped noise stays white and Gaussian, follows the motion, and agrees with the published algorithm."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from driftcam.engines.noise import Readout, WarpedField
from driftcam.engines.noise.normals import fill_normals
from driftcam.engines.noise.warp import NONE, OUTSIDE, carry, relax, route
from tests.engines import reference_warp

CELLS, POINTS, CHANNELS = 12, 4, 4
SIDE = CELLS * POINTS


def flow_of(name: str, frame: int, rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 2) flow in grid pixels."""
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2).astype(np.float32)
    if name == "pan":
        return np.full((SIDE, SIDE, 2), (0.7, -0.4), np.float32)
    if name in ("zoom-in", "zoom-out"):
        return np.stack([x, y], -1) * np.float32(0.02 if name == "zoom-in" else -0.02)
    if name == "swirl":
        return np.stack([-y, x], -1) * np.float32(0.05)
    if name == "shake":
        return np.broadcast_to(rng.uniform(-1, 1, 2).astype(np.float32), (SIDE, SIDE, 2)).copy()
    return rng.normal(0, 0.1, (SIDE, SIDE, 2)).astype(np.float32)


def whiteness(samples: np.ndarray) -> dict[str, float]:
    """Deviations of (N, h, w) samples from iid N(0, 1), each in standard errors."""
    n = samples.size
    x = samples.astype(np.float64)
    return {
        "mean": x.mean() * np.sqrt(n),
        "std": (x.std() - 1) * np.sqrt(2 * n),
        "kurtosis": float(stats.kurtosis(x, axis=None)) / np.sqrt(24 / n),
        "lag x": (x[..., 1:] * x[..., :-1]).mean() * np.sqrt(x[..., 1:].size),
        "lag y": (x[:, 1:] * x[:, :-1]).mean() * np.sqrt(x[:, 1:].size),
    }


@pytest.mark.parametrize("name", ["pan", "zoom-in", "zoom-out", "swirl", "shake", "jitter"])
def test_500_frames_later_the_noise_is_white_and_gaussian(name: str) -> None:
    """On the state and on the readout, over 20 seeds."""
    states, readings = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        field = WarpedField(SIDE, SIDE, CHANNELS, seed)
        for frame in range(500):
            forward = flow_of(name, frame, rng)
            field.step(forward, None if name == "jitter" else -forward, alpha=0.02)
        reading = np.empty((CHANNELS, CELLS, CELLS), np.float32)
        Readout("band_limited", POINTS, CELLS, CELLS, CHANNELS).read(field.values, field.phase, reading)
        states.append(field.values.T.reshape(CHANNELS, SIDE, SIDE).copy())
        readings.append(reading)
    for samples in (states, readings):
        deviations = whiteness(np.concatenate(samples))
        assert all(abs(value) < 3 for value in deviations.values()), deviations
        p = [stats.kstest(sample.ravel(), "norm").pvalue for sample in samples]
        assert stats.kstest(p, "uniform").pvalue > 0.01, p


def test_normals_are_normal_and_reproducible() -> None:
    counter = np.zeros(1, np.uint64)
    draws = np.empty(1_000_001, np.float32)
    fill_normals(draws, 7, counter)
    assert np.isfinite(draws).all()
    assert stats.kstest(draws, "norm").pvalue > 0.01
    assert all(abs(np.mean(draws[:-lag] * draws[lag:])) < 3e-3 for lag in (1, 2, 20, 2048, 4096))
    again, other = np.empty_like(draws), np.empty_like(draws)
    fill_normals(again, 7, np.zeros(1, np.uint64))
    fill_normals(other, 8, np.zeros(1, np.uint64))
    np.testing.assert_array_equal(draws, again)
    assert abs(np.corrcoef(draws, other)[0, 1]) < 4e-3


def test_slow_pan_keeps_the_noise_along_the_true_displacement() -> None:
    """.4 grid pixels a frame for 40 frames: 16 pixels, 4 cells."""
    field = WarpedField(96, 96, 4, 0)
    readout = Readout("band_limited", POINTS, 24, 24, 4)
    before, after = np.empty((2, 4, 24, 24), np.float32)
    readout.read(field.values, field.phase, before)
    old = field.values.reshape(96, 96, 4).copy()
    forward = np.full((96, 96, 2), (0.4, 0.0), np.float32)
    for _ in range(40):
        field.step(forward, -forward)
    readout.read(field.values, field.phase, after)
    new = field.values.reshape(96, 96, 4)
    assert np.corrcoef(new[:, 16:].ravel(), old[:, :-16].ravel())[0, 1] >= 0.95
    # the outermost three cells read across the border
    assert np.corrcoef(after[:, :, 7:-3].ravel(), before[:, :, 3:-7].ravel())[0, 1] >= 0.95


def test_jitter_alone_does_not_wash_the_noise_out() -> None:
    """Without any gate: σ = .1 pixels of independent flow error on every pixel, 50 frames."""
    rng = np.random.default_rng(0)
    field = WarpedField(96, 96, 4, 0)
    readout = Readout("band_limited", POINTS, 24, 24, 4)
    before, after = np.empty((2, 4, 24, 24), np.float32)
    readout.read(field.values, field.phase, before)
    for _ in range(50):
        field.step(rng.normal(0, 0.1, (96, 96, 2)).astype(np.float32))
    readout.read(field.values, field.phase, after)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] >= 0.95


def test_uncovered_pixels_and_only_those_get_fresh_noise() -> None:
    """A square moves over a still background; the flow is exact in both directions."""
    side, size, step, channels = 96, 32, 3, 40
    field = WarpedField(side, side, channels, 0)
    found = true = both = 0
    for frame in range(8):
        left = 12 + step * frame
        forward, backward = np.zeros((2, side, side, 2), np.float32)
        before, after = np.zeros((2, side, side), bool)
        before[30 : 30 + size, left : left + size] = True
        after[30 : 30 + size, left + step : left + step + size] = True
        forward[before], backward[after] = (step, 0), (-step, 0)
        old = field.values.reshape(side, side, channels).copy()
        field.step(forward, backward)
        new = field.values.reshape(side, side, channels)
        expected = np.where(after[..., None], np.roll(old, step, 1), old)
        fresh = 1 - ((expected - new) ** 2).mean(-1) / 2 < 0.5  # correlation of unit normals
        uncovered = before & ~after
        found, true, both = found + fresh.sum(), true + uncovered.sum(), both + (fresh & uncovered).sum()
    assert both / true >= 0.8 and both / found >= 0.8, (both / true, both / found)


@pytest.mark.parametrize("shift", [(1, 0), (0, -2), (3, 5)])
def test_whole_pixel_translation_agrees_with_the_reference_exactly(shift: tuple[int, int]) -> None:
    field = WarpedField(40, 52, 3, 1)
    state = reference_warp.start(field.values.reshape(40, 52, 3))
    forward = np.full((40, 52, 2), shift, np.float32)
    seen = np.ones((40, 52), bool)
    for _ in range(3):
        field.step(forward)
        state = reference_warp.warp(state, forward, np.random.default_rng(0))
        seen = np.roll(seen, shift[::-1], (0, 1))
        seen[: max(shift[1], 0)] = seen[40 + min(shift[1], 0) :] = False
        seen[:, : max(shift[0], 0)] = False
    ours = field.values.reshape(40, 52, 3)
    np.testing.assert_array_equal(ours[seen], state.values[seen].astype(np.float32))


def scratch(height: int, width: int, channels: int) -> tuple[dict, dict]:
    """Arrays for one call of `route` and of `carry`."""
    n = height * width
    plan = {name: np.empty(n, np.int32) for name in ("target", "first_pull", "next_pull", "hits")}
    result = {
        "new_values": np.zeros((n, channels), np.float32),
        "new_density": np.zeros(n, np.float32),
        "new_rest": np.zeros((n, 2), np.float32),
        "norm": np.zeros(n, np.float32),
        "pool": np.zeros(4096, np.float32),
    }
    return plan, result


def carried(values: np.ndarray, forward: np.ndarray, rest: np.ndarray) -> tuple[dict, dict]:
    """One step of the two passes with no phase, from unit density."""
    height, width, channels = values.shape
    plan, result = scratch(height, width, channels)
    density, rest = np.ones((height, width), np.float32), rest.copy()
    zero = np.zeros(2, np.float32)
    route(forward, -forward, False, rest, density, zero, zero, *plan.values())
    flat = values.reshape(-1, channels)
    counter = np.zeros(1, np.uint64)
    carry(flat, density.ravel(), rest.reshape(-1, 2), zero, *plan.values(), *result.values(), 0, counter)
    return plan, result


@pytest.mark.parametrize("rate", [0.08, -0.06])
def test_zoom_agrees_with_the_reference_in_all_that_is_not_random(rate: float) -> None:
    """Density, residual, and the values of every pixel that no split has touched."""
    rng = np.random.default_rng(3)
    values = rng.standard_normal((SIDE, SIDE, 3)).astype(np.float32)
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2).astype(np.float32)
    forward = np.stack([x, y], -1) * np.float32(rate)
    plan, result = carried(values, forward, np.zeros((SIDE, SIDE, 2), np.float32))
    state = reference_warp.warp(reference_warp.start(values), forward.astype(np.float64), rng)
    density = state.density.ravel() ** (15 / 16)
    np.testing.assert_allclose(result["new_density"], density, rtol=1e-5)
    np.testing.assert_allclose(result["new_rest"], state.rest.reshape(-1, 2), atol=1e-5)
    whole = np.ones(SIDE * SIDE, bool)
    for p in np.flatnonzero(plan["first_pull"] != NONE):
        whole[plan["target"][p]] = False
    whole &= plan["hits"] > 0
    np.testing.assert_allclose(result["new_values"][whole], state.values.reshape(-1, 3)[whole], atol=1e-5)
    assert whole.sum() > 1000


def test_a_split_conserves_its_source() -> None:
    """Σv/√k over the k items of a source is the source's value."""
    rng = np.random.default_rng(5)
    values = rng.standard_normal((SIDE, SIDE, 3)).astype(np.float32)
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2).astype(np.float32)
    plan, result = carried(values, np.stack([x, y], -1) * np.float32(0.3), np.zeros((SIDE, SIDE, 2), np.float32))
    groups = 0
    for p in np.flatnonzero(plan["first_pull"] != NONE):
        items = [] if plan["target"][p] == OUTSIDE else [plan["target"][p]]
        q = plan["first_pull"][p]
        while q != NONE:
            items.append(q)
            q = plan["next_pull"][q]
        if any(plan["hits"][item] > 1 for item in items):
            continue
        total = result["new_values"][items].sum(0) / np.sqrt(len(items))
        np.testing.assert_allclose(total, values.reshape(-1, 3)[p], atol=1e-4)
        groups += 1
    assert groups > 50


def test_relaxation_leaves_wrapped_neighbours_alone() -> None:
    rest = np.zeros((8, 8, 2), np.float32)
    rest[:, 4:, 0] = 0.5
    out = np.empty_like(rest)
    relax(rest, out)
    np.testing.assert_array_equal(out, rest)


def test_refresh_replaces_the_share_that_alpha_asks_for() -> None:
    still = np.zeros((96, 96, 2), np.float32)
    for alpha, trust in itertools.product((0.1, 0.5), (1.0, 0.5)):
        field = WarpedField(96, 96, 2, 0)
        old = field.values.copy()
        field.step(still, confidence=np.full((96, 96), trust, np.float32), alpha=alpha)
        kept = (field.values == old).all(1).mean()
        effective = alpha + (1 - alpha) * (1 - trust)
        assert kept == pytest.approx(np.sqrt(1 - effective**2), abs=0.02)


def test_the_same_seed_gives_the_same_noise() -> None:
    rng = np.random.default_rng(0)
    flows = [rng.normal(0, 1, (SIDE, SIDE, 2)).astype(np.float32) for _ in range(5)]
    runs = []
    for seed in (3, 3, 4):
        field = WarpedField(SIDE, SIDE, CHANNELS, seed)
        for flow in flows:
            field.step(flow, alpha=0.1)
        runs.append(field.values)
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).mean() > 0.99


def test_violent_flow_is_survived() -> None:
    """Flow far beyond the grid, and all pixels into one."""
    field = WarpedField(SIDE, SIDE, CHANNELS, 0)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2).astype(np.float32)
    for flow in (np.full((SIDE, SIDE, 2), 1e6, np.float32), -np.stack([x, y], -1), np.stack([x, y], -1) * 5):
        for _ in range(3):
            field.step(np.ascontiguousarray(flow, np.float32))
            assert np.isfinite(field.values).all() and np.isfinite(field.density).all()
            assert abs(field.values.std() - 1) < 0.1
