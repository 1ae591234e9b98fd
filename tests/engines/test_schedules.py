"""Schedules and solvers against diffusers' schedulers, an independent implementation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.diffusion.schedules import (
    PREDICTIONS,
    Schedule,
    add_noise,
    advance,
    alphas_cumprod,
    ddim,
    dpmpp,
    estimate,
    estimate_coefficients,
    flow,
    lcm,
    turbo,
)

diffusers = pytest.importorskip("diffusers")

LEVELS = alphas_cumprod()
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def network(x: Tensor, t: float) -> Tensor:
    """Any smooth function of the latent and the timestep serves; this one is bounded."""
    return torch.tanh(0.7 * x.flip(-1) - 0.3 * x) + 0.1 * math.sin(t)


def run(schedule: Schedule, latent: Tensor, noises: Tensor) -> Tensor:
    first = schedule.steps[0]
    x = add_noise(latent, noises[0], first.alpha, first.sigma)
    previous = None
    for i, step in enumerate(schedule.steps):
        x0 = estimate(x, network(x, step.timestep), *step.estimate)
        x = advance(x, x0, previous, noises[min(i + 1, len(noises) - 1)], *step.advance)
        previous = x0
    return x


@pytest.fixture
def latent() -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def noises() -> Tensor:
    return torch.randn(8, 2, 4, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def given_noise(monkeypatch, noises):
    """Lets a diffusers scheduler draw the fields 1, 2, … in order, as the frame brings them."""

    def patch(module) -> None:
        # One more, because the ancestral scheduler draws a field for its last step too and multiplies it by 0.
        fields = iter([*noises[1:], noises[0]])
        monkeypatch.setattr(module, "randn_tensor", lambda *args, **kwargs: next(fields))

    return patch


@pytest.mark.parametrize("steps", range(1, 9))
@pytest.mark.parametrize("strength", [1.0, 0.6, 0.25])
def test_flow_is_diffusers_flow_match_euler(steps, strength, latent, noises):
    reference = diffusers.FlowMatchEulerDiscreteScheduler()
    sigmas = [strength * (1 - i / steps) for i in range(steps)]
    reference.set_timesteps(sigmas=sigmas)
    x = reference.scale_noise(latent, reference.timesteps[:1], noises[0])
    for t in reference.timesteps:
        x = reference.step(network(x, float(t) / 1000), t, x).prev_sample
    schedule = flow(steps, strength)
    assert [step.timestep for step in schedule.steps] == pytest.approx(sigmas)
    torch.testing.assert_close(run(schedule, latent, noises), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_lcm_is_diffusers_lcm(prediction, steps, strength, latent, noises, given_noise):
    reference = diffusers.LCMScheduler(**SD, clip_sample=False, prediction_type=prediction)
    reference.set_timesteps(steps, original_inference_steps=50, strength=strength)
    given_noise(diffusers.schedulers.scheduling_lcm)
    schedule = lcm(steps, strength, LEVELS, prediction)
    assert [int(step.timestep) for step in schedule.steps] == reference.timesteps.tolist()
    x = reference.add_noise(latent, noises[0], reference.timesteps[:1])
    for t in reference.timesteps:
        x = reference.step(network(x, float(t)), t, x).prev_sample
    torch.testing.assert_close(run(schedule, latent, noises), x, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8])
def test_ddim_is_diffusers_euler_in_the_variance_preserving_latent(prediction, steps, latent, noises):
    reference = diffusers.EulerDiscreteScheduler(**SD, timestep_spacing="trailing", prediction_type=prediction)
    reference.set_timesteps(steps)
    schedule = ddim(steps, 1.0, LEVELS, prediction)
    assert [step.timestep for step in schedule.steps] == reference.timesteps.tolist()
    x = reference.add_noise(latent, noises[0], reference.timesteps[:1])
    for t in reference.timesteps:
        seen = reference.scale_model_input(x, t)
        x = reference.step(network(seen, float(t)), t, x).prev_sample
    torch.testing.assert_close(run(schedule, latent, noises), x, atol=5e-5, rtol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("alpha_one", [True, False])
def test_ddim_is_diffusers_ddim(steps, strength, alpha_one, latent, noises):
    reference = diffusers.DDIMScheduler(
        **SD, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=alpha_one
    )
    # diffusers runs the last `strength` of a longer schedule.
    reference.set_timesteps(int(steps / strength))
    timesteps = reference.timesteps[-steps:]
    schedule = ddim(steps, strength, LEVELS, final_alpha=1.0 if alpha_one else math.sqrt(LEVELS[0]))
    assert [step.timestep for step in schedule.steps] == timesteps.tolist()
    x = reference.add_noise(latent, noises[0], timesteps[:1])
    for t in timesteps:
        x = reference.step(network(x, float(t)), t, x).prev_sample
    torch.testing.assert_close(run(schedule, latent, noises), x, atol=5e-5, rtol=2e-5)


DPMPP = {"algorithm_type": "dpmsolver++", "solver_order": 2, "lower_order_final": True}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("strength", [1.0, 0.5, 0.2])
def test_dpmpp_is_diffusers_dpm_solver_multistep(prediction, steps, strength, latent, noises):
    reference = diffusers.DPMSolverMultistepScheduler(
        **SD, **DPMPP, timestep_spacing="trailing", prediction_type=prediction
    )
    reference.set_timesteps(round(steps / strength))
    timesteps = reference.timesteps[-steps:]
    schedule = dpmpp(steps, strength, LEVELS, prediction)
    assert [step.timestep for step in schedule.steps] == timesteps.tolist()
    reference.set_begin_index(len(reference.timesteps) - steps)
    x = reference.add_noise(latent, noises[0], timesteps[:1])
    for t in timesteps:
        x = reference.step(network(x, float(t)), t, x).prev_sample
    ours = run(schedule, latent, noises)
    torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-5)
    same = torch.allclose(ours, run(ddim(steps, strength, LEVELS, prediction), latent, noises), atol=1e-3)
    assert same == (steps <= 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("strength", [1.0, 0.999, 0.6, 0.25])
def test_dpmpp_of_a_flow_is_diffusers_dpm_solver_multistep(steps, strength, latent, noises):
    reference = diffusers.DPMSolverMultistepScheduler(
        **DPMPP, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0
    )
    reference.set_timesteps(steps)
    schedule = flow(steps, strength, "dpmpp")
    sigmas = torch.tensor([*(step.sigma for step in schedule.steps), 0.0])
    if strength == 0.999:  # this one is diffusers' own
        torch.testing.assert_close(reference.sigmas, sigmas)
    reference.sigmas = sigmas
    reference.set_begin_index(0)
    x = (1 - strength) * latent + strength * noises[0]
    for t, sigma in zip(reference.timesteps, sigmas.tolist(), strict=False):
        x = reference.step(network(x, sigma), t, x).prev_sample
    ours = run(schedule, latent, noises)
    torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-5)
    same = torch.allclose(ours, run(flow(steps, strength), latent, noises), atol=1e-3)
    assert same == (steps <= 2 or (steps == 3 and strength == 1.0)), "λ = −∞ at pure noise: no second order after it"


@pytest.mark.parametrize("strength", [0.95, 0.6])
def test_dpmpp_is_of_second_order(strength):
    """Of a velocity whose path is known in closed form, twice the steps leave a quarter of the error, Euler's half.

    x₀ ~ N(μ, s²) makes E[x₀ | x_t] linear: x̂₀ = μ + s²A/(A²s² + B²)·(x − A·μ), and x moves along its quantile.
    """
    mean, deviation = 0.4, 0.3

    def estimate_of(x: Tensor, step) -> Tensor:
        variance = (step.alpha * deviation) ** 2 + step.sigma**2
        return mean + deviation**2 * step.alpha / variance * (x - step.alpha * mean)

    def error(steps: int, solver: str) -> float:
        schedule = flow(steps, strength, solver)
        first = schedule.steps[0]
        quantile = torch.linspace(-2, 2, 9, dtype=torch.float64)
        x = first.alpha * mean + math.hypot(first.alpha * deviation, first.sigma) * quantile
        previous = None
        for step in schedule.steps:
            x0 = estimate_of(x, step)
            x, previous = advance(x, x0, previous, None, *step.advance), x0
        return float((x - (mean + deviation * quantile)).abs().max())

    assert error(8, "dpmpp") < 0.5 * error(8, "euler")
    assert error(8, "dpmpp") < 0.45 * error(4, "dpmpp")


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_turbo_is_diffusers_ancestral_euler(steps, strength, latent, noises, given_noise):
    reference = diffusers.EulerAncestralDiscreteScheduler(**SD, timestep_spacing="trailing")
    reference.set_timesteps(int(steps / strength))
    timesteps = reference.timesteps[-steps:]
    given_noise(diffusers.schedulers.scheduling_euler_ancestral_discrete)
    schedule = turbo(steps, strength, LEVELS)
    assert [step.timestep for step in schedule.steps] == timesteps.tolist()
    reference.set_begin_index(len(reference.timesteps) - steps)
    x = reference.add_noise(latent, noises[0], timesteps[:1])
    for t in timesteps:
        seen = reference.scale_model_input(x, t)
        x = reference.step(network(seen, float(t)), t, x).prev_sample
    torch.testing.assert_close(run(schedule, latent, noises), x, atol=5e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear"])
def test_training_levels_are_diffusers(kind):
    reference = diffusers.DDPMScheduler(beta_start=0.001, beta_end=0.02, beta_schedule=kind)
    ours = torch.tensor(alphas_cumprod(0.001, 0.02, schedule=kind))
    torch.testing.assert_close(ours, reference.alphas_cumprod, atol=1e-6, rtol=1e-4)


@given(st.sampled_from(PREDICTIONS), st.floats(0.05, 1.5))
def test_every_prediction_of_a_perfect_network_gives_the_clean_latent(prediction, angle):
    alpha, sigma = math.cos(angle), math.sin(angle)
    x0, noise = torch.randn(2, 64, dtype=torch.float64)
    output = {
        "epsilon": noise,
        "v_prediction": alpha * noise - sigma * x0,
        "flow": noise - x0,
        "sample": x0,
    }[prediction]
    coefficients = estimate_coefficients(prediction, alpha, sigma)
    torch.testing.assert_close(estimate(add_noise(x0, noise, alpha, sigma), output, *coefficients), x0)


def flow_dpmpp(steps: int, strength: float) -> Schedule:
    return flow(steps, strength, "dpmpp")


@given(st.sampled_from([flow, flow_dpmpp, ddim, dpmpp, turbo, lcm]), st.integers(1, 8), st.floats(0, 1))
def test_levels_fall_to_the_clean_latent_at_every_strength(solver, steps, strength):
    flows = solver in (flow, flow_dpmpp)
    schedule = solver(steps, strength) if flows else solver(steps, strength, LEVELS)
    assert len(schedule) <= steps
    assert (len(schedule) == 0) == (strength == 0)
    if flows and strength:
        assert len(schedule) == steps
    levels = [*(step.sigma for step in schedule.steps), 0]
    assert all(a > b for a, b in itertools.pairwise(levels))
    assert all(math.isfinite(v) for step in schedule.steps for v in (*step.estimate, *step.advance))
    # A network that knows the answer ends at it, whatever the noises.
    if schedule.steps:
        x0, *noises = torch.randn(len(schedule) + 2, 1, 1, 2, 2, dtype=torch.float64)
        x = add_noise(x0, noises[0], schedule.steps[0].alpha, schedule.steps[0].sigma)
        for noise, step in zip(noises[1:], schedule.steps, strict=True):
            x = advance(x, x0, x0, noise, *step.advance)
        torch.testing.assert_close(x, x0, atol=1e-3, rtol=0)


def test_noise_fields_are_only_asked_for_where_they_are_used():
    assert flow(4, 0.7).noise_fields == ddim(4, 0.7, LEVELS).noise_fields == 1
    assert lcm(4, 0.7, LEVELS).noise_fields == turbo(4, 0.7, LEVELS).noise_fields == 4
    assert flow(4, 0).noise_fields == 0
    assert dpmpp(4, 0.7, LEVELS).noise_fields == 1


def test_history_is_only_kept_where_it_is_used():
    assert not any(schedule.remembers for schedule in (flow(4, 0.7), ddim(4, 0.7, LEVELS), lcm(4, 0.7, LEVELS)))
    assert dpmpp(3, 0.7, LEVELS).remembers and flow(3, 0.7, "dpmpp").remembers
    assert not dpmpp(2, 0.7, LEVELS).remembers  # the first step has no history, the last takes none
    for schedule in (dpmpp(8, 0.7, LEVELS), flow(8, 0.7, "dpmpp")):
        history = [step.advance[2] for step in schedule.steps]
        assert history[0] == history[-1] == 0 and all(history[1:-1])


@pytest.mark.parametrize("steps", [0, 9, 1.5, True])
def test_wrong_steps_are_named(steps):
    with pytest.raises(ParameterError, match="steps"):
        flow(steps, 1.0)


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_wrong_strength_is_named(strength):
    with pytest.raises(ParameterError, match="strength"):
        lcm(1, strength, LEVELS)


def test_wrong_names_are_refused():
    with pytest.raises(ParameterError, match="prediction_type"):
        ddim(1, 1.0, LEVELS, "noise")
    with pytest.raises(ParameterError, match="prediction_type"):
        estimate_coefficients("epsilon", 0.0, 1.0)
    with pytest.raises(ParameterError, match="solver"):
        flow(1, 1.0, "heun")
    with pytest.raises(ParameterError, match="beta_schedule"):
        alphas_cumprod(schedule="squaredcos_cap_v2")
