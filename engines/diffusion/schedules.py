"""Noise schedules and solvers: how much noise each step sees and how one step leads to the next.

Every solver here is linear in the latent, the network's outputs and the noise, so a whole
schedule is a table of numbers, made once per change of parameters; a step multiplies and adds:

    x₁  = A₁·x₀ + B₁·ε₁                                       `add_noise`
    x̂₀  = a·x + b·output                                      `estimate`
    x'  = keep·x + gain·x̂₀ + history·x̂₀_prev + renoise·ε'     `advance`

A and B are the levels of signal and noise: √ᾱ and √(1−ᾱ) for variance-preserving models,
1−t and t for rectified flow. After the last step A = 1 and B = 0. x̂₀_prev is that of the step before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.parameters import TABLE

PREDICTIONS = ("epsilon", "v_prediction", "flow", "sample")

Number = float | Tensor
"""A float, or a tensor that broadcasts over the latents, such as (B, 1, 1, 1)."""


@dataclass(frozen=True)
class Step:
    """One denoising step.

    Attributes:
        alpha, sigma: levels A and B of the latent that the step receives; B > 0.
        timestep: the number that tells the network about the level.
        estimate: (a, b) of x̂₀ = a·x + b·output.
        advance: (keep, gain, history, renoise) of x' = keep·x + gain·x̂₀ + history·x̂₀_prev + renoise·ε'.
    """

    alpha: float
    sigma: float
    timestep: float
    estimate: tuple[float, float]
    advance: tuple[float, float, float, float]

    @property
    def renoises(self) -> bool:
        return self.advance[3] != 0


@dataclass(frozen=True)
class Schedule:
    """The steps from the noisiest to the last; none at all at strength 0."""

    steps: tuple[Step, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def noise_fields(self) -> int:
        """How many noise fields a frame must bring: one per step, or only the first if nothing re-noises."""
        return len(self.steps) if any(step.renoises for step in self.steps) else min(1, len(self.steps))

    @property
    def remembers(self) -> bool:
        """Whether a step looks back at the x̂₀ of the step before."""
        return any(step.advance[2] for step in self.steps)


def add_noise(latent: Tensor, noise: Tensor, alpha: Number, sigma: Number) -> Tensor:
    """x = A·x₀ + B·ε."""
    return _sum(noise, sigma, latent, alpha)


def estimate(x: Tensor, output: Tensor, from_x: Number, from_output: Number) -> Tensor:
    """x̂₀, the clean latent that the network's output stands for; coefficients from `Step.estimate`."""
    return _sum(x, from_x, output, from_output)


def advance(
    x: Tensor,
    x0: Tensor,
    previous: Tensor | None,
    noise: Tensor | None,
    keep: Number,
    gain: Number,
    history: Number,
    renoise: Number,
) -> Tensor:
    """The latent of the next step; coefficients from `Step.advance`.

    Where `previous`, x̂₀ of the step before, or `noise` is None its term is left out.
    """
    return _plus(_plus(_sum(x0, gain, x, keep), history, previous), renoise, noise)


def _sum(a: Tensor, gain_a: Number, b: Tensor, gain_b: Number) -> Tensor:
    """gain_a·a + gain_b·b in a tensor of its own, without the passes that a gain of 0 or 1 makes needless."""
    if isinstance(gain_b, Tensor):
        return torch.addcmul(gain_a * a, gain_b, b)
    if gain_b == 0:
        return gain_a * a
    return torch.add(a if isinstance(gain_a, float) and gain_a == 1 else gain_a * a, b, alpha=gain_b)


def _plus(total: Tensor, gain: Number, term: Tensor | None) -> Tensor:
    """total + gain·term, without the pass where there is none or its gain is 0."""
    if term is None or (isinstance(gain, float) and gain == 0):
        return total
    if isinstance(gain, Tensor):
        return torch.addcmul(total, gain, term)
    return torch.add(total, term, alpha=gain)


def flow(steps: int, strength: float, solver: str = "euler") -> Schedule:
    """Rectified flow (arXiv 2209.03003): x_t = (1−t)·x₀ + t·ε, v = ε − x₀.

    t falls in equal parts from `strength` to 0; the network sees t itself.

    Args:
        steps: at least 1.
        strength: 0 (no steps) to 1 (starts from noise alone).
        solver: one of `FLOW_SOLVERS`: `euler`, x' = x + (t'−t)·v, or `dpmpp` as the function of that name.
    """
    _check(steps, strength)
    if solver not in FLOW_SOLVERS:
        raise ParameterError("solver", solver, f"choose from: {', '.join(FLOW_SOLVERS)}")
    if strength == 0:
        return Schedule()
    levels = [(1 - t, t) for t in (strength * (1 - i / steps) for i in range(steps + 1))]
    return _schedule(levels[:-1], [t for _, t in levels[:-1]], "flow", FLOW_SOLVERS[solver])


def ddim(
    steps: int, strength: float, alphas_cumprod: Sequence[float], prediction: str = "epsilon", final_alpha: float = 1.0
) -> Schedule:
    """DDIM with η = 0 (arXiv 2010.02502): x' = A'·x̂₀ + B'·ε̂, timesteps spaced "trailing".

    In the variance-preserving latent this is also the Euler step of k-diffusion, the scheduler
    that SD-Turbo names (arXiv 2311.17042): with one step the result is x̂₀ itself.

    Args:
        steps: at least 1. Where strength leaves fewer than `steps` whole timesteps, each is used once.
        strength: 0 (no steps) to 1 (starts at the last timestep).
        alphas_cumprod: ᾱ of every training timestep, see `alphas_cumprod`.
        prediction: what the network puts out, one of `PREDICTIONS`.
        final_alpha: A after the last step; 1 except for folders that set `set_alpha_to_one` false.
    """
    return _discrete(_trailing(steps, strength, len(alphas_cumprod)), alphas_cumprod, prediction, _euler, final_alpha)


def dpmpp(steps: int, strength: float, alphas_cumprod: Sequence[float], prediction: str = "epsilon") -> Schedule:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2), deterministic, timesteps spaced "trailing".

    The second order comes from the x̂₀ of the step before. The first step has none, and the last ends at λ = ∞, where
    its formula has no limit: both are of first order, as in `ddim`, so that solvers differ from three steps on.
    Arguments as for `ddim`.
    """
    return _discrete(_trailing(steps, strength, len(alphas_cumprod)), alphas_cumprod, prediction, _dpmpp)


def turbo(steps: int, strength: float, alphas_cumprod: Sequence[float], prediction: str = "epsilon") -> Schedule:
    """Ancestral Euler, the scheduler that SDXL-Turbo names (arXiv 2311.17042), timesteps spaced "trailing".

    One step gives x̂₀ itself; more of them add part of the frame's own noise in between.
    Arguments as for `ddim`.
    """
    return _discrete(_trailing(steps, strength, len(alphas_cumprod)), alphas_cumprod, prediction, _ancestral)


def lcm(
    steps: int, strength: float, alphas_cumprod: Sequence[float], prediction: str = "epsilon", original_steps: int = 50
) -> Schedule:
    """Latent consistency (arXiv 2310.04378): x' = A'·(c_out·x̂₀ + c_skip·x) + B'·ε', with the frame's own ε'.

    The timesteps are the `original_steps` of the distillation, cut at `strength`; where fewer than
    `steps` of them remain, each is used once, and at least one is.

    Args:
        original_steps: number of timesteps that the model was distilled on.
        steps, strength, alphas_cumprod, prediction: as for `ddim`.
    """
    _check(steps, strength)
    if strength == 0:
        return Schedule()
    stride = len(alphas_cumprod) // original_steps
    available = max(1, int(original_steps * strength))
    steps = min(steps, available)
    timesteps = [(available - i * available // steps) * stride - 1 for i in range(steps)]
    return _discrete(timesteps, alphas_cumprod, prediction, _consistency)


def alphas_cumprod(
    beta_start: float = 0.00085, beta_end: float = 0.012, timesteps: int = 1000, schedule: str = "scaled_linear"
) -> tuple[float, ...]:
    """ᾱ_t = Π(1−β) of a training schedule; the defaults are Stable Diffusion's.

    Args:
        beta_start, beta_end: β of the first and last timestep.
        timesteps: length of the training schedule.
        schedule: "linear" in β or "scaled_linear" in √β.
    """
    if schedule not in ("linear", "scaled_linear"):
        raise ParameterError("beta_schedule", schedule, "choose from: linear, scaled_linear")
    power = 2 if schedule == "scaled_linear" else 1
    low, high = beta_start ** (1 / power), beta_end ** (1 / power)
    products, product = [], 1.0
    for i in range(timesteps):
        product *= 1 - (low + (high - low) * i / (timesteps - 1)) ** power
        products.append(product)
    return tuple(products)


def estimate_coefficients(prediction: str, alpha: float, sigma: float) -> tuple[float, float]:
    """(a, b) of x̂₀ = a·x + b·output, for x = A·x₀ + B·ε and a network that predicts

    ε ("epsilon"), A·ε − B·x₀ ("v_prediction", A² + B² = 1), ε − x₀ ("flow") or x₀ ("sample").
    """
    if prediction not in PREDICTIONS:
        raise ParameterError("prediction_type", prediction, f"choose from: {', '.join(PREDICTIONS)}")
    if prediction == "epsilon":
        if alpha == 0:
            raise ParameterError("prediction_type", prediction, "a level without signal needs v_prediction or sample")
        return 1 / alpha, -sigma / alpha
    if prediction == "v_prediction":
        return alpha, -sigma
    if prediction == "flow":
        return 1 / (alpha + sigma), -sigma / (alpha + sigma)
    return 0.0, 1.0


Level = tuple[float, float]
"""A and B of a latent."""

_Solver = Callable[[Level | None, Level, Level, float], tuple[float, float, float, float]]
"""(level before or None, level, next level, timestep) -> (keep, gain, history, renoise) of `Step.advance`."""


def _euler(_before: Level | None, here: Level, after: Level, _t: float) -> tuple[float, float, float, float]:
    """x' = A'·x̂₀ + B'·ε̂ with ε̂ = (x − A·x̂₀)/B; for a flow this is x + (t'−t)·v."""
    (alpha, sigma), (next_alpha, next_sigma) = here, after
    keep = next_sigma / sigma
    return keep, next_alpha - alpha * keep, 0.0, 0.0


def _dpmpp(before: Level | None, here: Level, after: Level, t: float) -> tuple[float, float, float, float]:
    """The first-order step towards D = x̂₀ + (x̂₀ − x̂₀_prev)·h'/2h with steps h, h' in λ, the one before and this."""
    keep, gain, *_ = _euler(before, here, after, t)
    if before is None or after[1] == 0:
        return keep, gain, 0.0, 0.0
    share = (_half_log_snr(after) - _half_log_snr(here)) / (_half_log_snr(here) - _half_log_snr(before)) / 2
    return keep, gain * (1 + share), -gain * share, 0.0


def _half_log_snr(level: Level) -> float:
    """λ = log(A/B), −∞ for pure noise."""
    alpha, sigma = level
    return math.log(alpha) - math.log(sigma) if alpha else -math.inf


def _ancestral(_before: Level | None, here: Level, after: Level, _t: float) -> tuple[float, float, float, float]:
    """k-diffusion's ancestral step: down to σ'²/σ, then noise back up to σ', with σ = B/A."""
    (alpha, sigma), (next_alpha, next_sigma) = here, after
    ratio = next_sigma * alpha / (next_alpha * sigma)  # σ'/σ, below 1
    keep = next_alpha * ratio * (next_sigma / (next_alpha * sigma))
    return keep, next_alpha * (1 - ratio**2), 0.0, next_sigma * math.sqrt(1 - ratio**2)


def _consistency(
    _before: Level | None, _here: Level, after: Level, timestep: float
) -> tuple[float, float, float, float]:
    """Boundary scalings with σ_data = .5 and timesteps scaled by 10."""
    next_alpha, next_sigma = after
    scaled = 10 * timestep
    skip = 0.25 / (scaled**2 + 0.25)
    out = scaled / math.sqrt(scaled**2 + 0.25)
    return next_alpha * skip, next_alpha * out, 0.0, next_sigma


FLOW_SOLVERS = {"euler": _euler, "dpmpp": _dpmpp}


def _trailing(steps: int, strength: float, total: int) -> list[int]:
    """Whole timesteps in equal parts from strength·total − 1 downwards, without repeats."""
    _check(steps, strength)
    if strength == 0:
        return []
    exact = (strength * total * (steps - i) / steps for i in range(steps))
    return list(dict.fromkeys(max(1, round(t)) - 1 for t in exact))


def _discrete(
    timesteps: list[int], alphas_cumprod: Sequence[float], prediction: str, solver: _Solver, final_alpha: float = 1.0
) -> Schedule:
    levels = [(math.sqrt(alphas_cumprod[t]), math.sqrt(1 - alphas_cumprod[t])) for t in timesteps]
    return _schedule(levels, [float(t) for t in timesteps], prediction, solver, final_alpha)


def _schedule(
    levels: list[Level],
    timesteps: list[float],
    prediction: str,
    solver: _Solver,
    final_alpha: float = 1.0,
) -> Schedule:
    before = [None, *levels][: len(levels)]
    after = [*levels, (final_alpha, math.sqrt(1 - final_alpha**2))][1:]
    return Schedule(
        tuple(
            Step(*level, t, estimate_coefficients(prediction, *level), solver(last, level, following, t))
            for last, level, following, t in zip(before, levels, after, timesteps, strict=True)
        )
    )


def _check(steps: int, strength: float) -> None:
    TABLE["steps"].check(steps)
    TABLE["strength"].check(strength)
