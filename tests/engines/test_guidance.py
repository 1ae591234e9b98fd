"""Guidance: the published formulas, the algebra that ties the modes together, and the bound."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.diffusion.frame import Frame
from driftcam.engines.diffusion.guidance import CEILING, Guidance, guide, guide_residual, limited_stock
from driftcam.engines.diffusion.plan import Plan
from driftcam.engines.diffusion.schedules import add_noise, advance, alphas_cumprod, ddim, estimate, flow, lcm, turbo
from driftcam.engines.diffusion.stream_batch import StreamBatch

LEVELS = alphas_cumprod()
SOLVERS = {
    "flow": flow,
    "ddim": lambda n, s: ddim(n, s, LEVELS),
    "turbo": lambda n, s: turbo(n, s, LEVELS),
    "lcm": lambda n, s: lcm(n, s, LEVELS),
}


def rms(x: Tensor) -> Tensor:
    return x.double().square().mean(dim=(1, 2, 3)).sqrt()


def draws(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, 4, 6, 6, generator=generator, dtype=torch.float64)


@given(st.floats(0.3, 1.4), st.floats(1.01, 8), st.integers(0, 1000))
def test_full_in_estimates_is_full_in_noise(angle, scale, seed):
    alpha, sigma = math.cos(angle), math.sin(angle)
    x, noise_c, noise_u = draws(3, seed)
    noise = noise_u + scale * (noise_c - noise_u)
    guided = guide((x - sigma * noise_c) / alpha, (x - sigma * noise_u) / alpha, scale)
    torch.testing.assert_close(guided, (x - sigma * noise) / alpha)


@pytest.mark.parametrize("mode", ["self", "initialize"])
@pytest.mark.parametrize("n", [1, 2, 4, 8])
@pytest.mark.parametrize("delta", [1.0, 0.8, 0.0])
def test_residual_modes_are_the_published_recursion(mode, n, delta):
    """In ε, with the stock carried from step to step, in the range where no bound is active."""
    scale, (x0, *noises) = 1.3, draws(10)
    # The levels stay in the paper's range (B below A) and the input is small, so that ‖(B/A)·stock‖ < 1.
    x0 = 0.3 * x0
    noises = [0.7 * noise for noise in noises]
    schedule = lcm(n, 0.3, LEVELS)

    def network(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """ε_c and ε_u near the truth, as a trained network's are."""
        noise = noises[schedule.steps.index(next(step for step in schedule.steps if step.timestep == t))]
        return noise + 0.05 * torch.tanh(x), noise + 0.05 * torch.cos(x)

    first = schedule.steps[0]
    x = add_noise(x0, noises[0], first.alpha, first.sigma)
    stock, reference, ours = noises[0], x0, x
    for i, step in enumerate(schedule.steps):
        a, b = step.alpha, step.sigma
        next_a, next_b = (schedule.steps[i + 1].alpha, schedule.steps[i + 1].sigma) if i + 1 < n else (1.0, 0.0)

        noise_c, noise_u = network(x, step.timestep)
        if mode == "initialize" and i == 0:
            stock = noise_u
        noise = guide(noise_c, delta * stock, scale)
        published = (x - b * noise) / a
        if next_b:
            stock = noises[i + 1] + next_a / next_b * (b * stock - b * noise) / a
        x = next_a * published + next_b * noises[i + 1]

        noise_c, noise_u = network(ours, step.timestep)
        if mode == "initialize" and i == 0:
            reference = estimate(ours, noise_u, *step.estimate)
        guided = guide_residual(estimate(ours, noise_c, *step.estimate), ours, reference, a, scale, delta)
        ours = advance(ours, guided, None, noises[i + 1], *step.advance)
        torch.testing.assert_close(ours, x, atol=2e-5, rtol=0)  # c_skip, c_out are 1e-6 from 0 and 1


def test_delta_one_is_guidance_away_from_the_reference():
    conditional, x, reference = draws(3)
    guided = guide_residual(conditional, x, reference, 0.9, 1.5, 1.0)
    torch.testing.assert_close(guided, reference + 1.5 * (conditional - reference))


def test_delta_zero_scales_the_predicted_noise():
    """ε = g·ε_c, where the bounds are not reached."""
    conditional, noise, reference = 0.3 * draws(3)
    alpha, sigma = 0.8, 0.6
    x = alpha * reference + sigma * noise
    guided = guide_residual(conditional, x, reference, alpha, 1.5, 0.0)
    noise_c = (x - alpha * conditional) / sigma
    torch.testing.assert_close(guided, (x - sigma * 1.5 * noise_c) / alpha)


@given(st.just(0.0) | st.floats(0.01, 1), st.floats(0, 1e4))
def test_the_stock_is_the_published_one_up_to_unit_norm(alpha, size):
    x, reference = size * draws(2).float()
    stock = limited_stock(x, reference, alpha)
    assert torch.isfinite(stock).all()
    assert (rms(stock) <= 1 + 1e-5).all()
    deviation = x - alpha * reference
    for row, exact in zip(stock, deviation, strict=True):
        if rms(exact[None]) < alpha:
            torch.testing.assert_close(row, exact / alpha)


def test_rows_are_bounded_each_for_itself():
    conditional, x, reference = draws(3)
    conditional[0] *= 1e6
    together = guide_residual(conditional, x, reference, 0.5, 3.0, 0.5)
    for k in range(len(x)):
        row = slice(k, k + 1)
        torch.testing.assert_close(
            together[row], guide_residual(conditional[row], x[row], reference[row], 0.5, 3.0, 0.5)
        )


STEPS = 10_000
ROWS = 64


@settings(max_examples=10, deadline=None)
@given(
    solver=st.sampled_from(list(SOLVERS)),
    n=st.integers(1, 8),
    strength=st.floats(0.001, 1),
    scale=st.floats(1, 20, exclude_min=True),
    delta=st.floats(0, 2),
    seed=st.integers(0, 2**31),
)
def test_ten_thousand_steps_stay_within_the_bound(solver, n, strength, scale, delta, seed):
    """The worst case: every output is the next frame's input, 10,000 steps in a row, beside 64 other g and δ.

    The network's estimates have at most unit norm but are otherwise free to point away from the reference.
    Published bound of one step: rms(x̂₀) ≤ max(CEILING, rms(x̂₀_c), rms(reference) + |1−δ|).
    """
    generator = torch.Generator().manual_seed(seed)
    schedule = SOLVERS[solver](n, strength)
    uniform = torch.rand(2, ROWS, 1, 1, 1, generator=generator)
    scales, deltas = 1 + uniform[0] * 19, uniform[1] * 2
    scales[0], deltas[0] = scale, delta
    frames = torch.randn(ROWS, 1, 2, 2, generator=generator)
    noises = torch.randn(17, ROWS, 1, 2, 2, generator=generator)
    turns = torch.randn(13, 1, 1, 2, 2, generator=generator)
    output, greatest = frames, 0.0
    for k in range(STEPS // len(schedule)):
        reference = output / rms(output).clamp(min=1)[:, None, None, None].float()
        first = schedule.steps[0]
        x = add_noise(reference, noises[k % 17], first.alpha, first.sigma)
        for i, step in enumerate(schedule.steps):
            conditional = torch.tanh(turns[(k + i) % 13] * x)
            guided = guide_residual(conditional, x, reference, step.alpha, scales, deltas)
            x = advance(x, guided, None, noises[(k + i + 1) % 17], *step.advance)
        output = x
        if k % 50 == 0 or k == STEPS // len(schedule) - 1:
            greatest = max(greatest, float(output.abs().max()))
            assert torch.isfinite(output).all()
    # Inputs have norm ≤ 1, so |1−δ| ≤ 1 never lifts the bound above the ceiling; 2 = √4 values of a row.
    assert greatest <= 2 * CEILING * 1.001


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n", [1, 4])
def test_a_network_that_predicts_unrelated_noise_cannot_make_the_modes_diverge(solver, n):
    """The estimate's own gain 1/A is the network's affair; guidance at g = 20 adds nothing to its growth."""
    x0, *noises = draws(n + 2)
    schedule = SOLVERS[solver](n, 1.0)
    for delta in (0.0, 1.0, 2.0):
        first = schedule.steps[0]
        x = add_noise(x0, noises[0], first.alpha, first.sigma)
        for i, step in enumerate(schedule.steps):
            conditional = estimate(x, noises[(i + 1) % len(noises)].flip(-1), *step.estimate)
            guided = guide_residual(conditional, x, x0, step.alpha, 20.0, delta)
            limit = torch.maximum(rms(conditional), rms(x0) + abs(1 - delta)).clamp(min=CEILING)
            assert (rms(guided) <= limit * 1.0001).all()
            x = advance(x, guided, None, noises[(i + 1) % len(noises)], *step.advance)


def test_the_published_recursion_diverges_where_ours_is_bounded():
    """One step, mode `self`: the published stock is never reset, its gain is (B/A)·(1 + (g−1)·δ) a frame."""
    step = lcm(1, 1.0, LEVELS).steps[0]
    x0, noise, noise_c = draws(3)
    stock = noise
    for _ in range(300):
        guided = guide(noise_c, stock, 1.5)
        stock = noise + (step.sigma * stock - step.sigma * guided) / step.alpha
    assert not torch.isfinite(stock).all() or stock.abs().max() > 1e100

    frames = [Frame(x0[k % 5].float(), noise[k % 5][None].float(), tag=k) for k in range(300)]
    stream = StreamBatch(lambda x, t, c: torch.tanh(x), Plan(lcm(1, 1.0, LEVELS), Guidance("self", 1.5)))
    results = [stream.push(frame)[0] for frame in frames]
    assert torch.equal(results[0].latent, results[-5].latent)  # the same frame: nothing has piled up


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mode": "Full"}, "guidance"),
        ({"scale": math.nan}, "guidance scale"),
        ({"scale": -1.0}, "guidance scale"),
        ({"delta": math.inf}, "guidance delta"),
    ],
)
def test_bad_values_are_named(changes, field):
    with pytest.raises(ParameterError, match=f"^{field}:"):
        Guidance(**changes)
