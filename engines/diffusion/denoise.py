"""Denoising: what a frame brings, how it is done, and all steps at once.

Everything a frame needs travels with it (noise, conditions), so that frames of different streams can share a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.diffusion.guidance import Guidance, guide, guide_residual
from driftcam.engines.diffusion.schedules import Schedule, Step, add_noise, advance, estimate

Condition = dict[str, Tensor]
Predict = Callable[[Tensor, Tensor, Condition], Tensor]
"""predict(x (B, C, h, w), t (B,), condition of B rows) -> network output (B, C, h, w)."""
Unconditional = Callable[[Condition], Condition]
"""The same keys, shapes and number of rows with the negative condition, computed row by row."""


@dataclass(frozen=True)
class Frame:
    """A picture to denoise and all that belongs to it.

    Attributes:
        latent: the encoded picture, (C, h, w).
        noises: unit Gaussian fields, (at least `Schedule.noise_fields`, C, h, w); the first enters at step 1.
        condition: one row of the network's condition, tensors without the batch axis.
        tag: handed back with the result, for example index and capture time.
        difference: x̂₀_c − x̂₀_u of the first step of an earlier frame, (C, h, w), which `denoise` takes for this one's
            in guidance `initialize`; None asks the network.
    """

    latent: Tensor
    noises: Tensor
    condition: Condition = field(default_factory=dict)
    tag: object = None
    difference: Tensor | None = None


@dataclass(frozen=True)
class Finished:
    """A denoised latent (C, h, w), owned by the caller, the frame's tag, and what `Frame.difference` may be next."""

    latent: Tensor
    tag: object
    difference: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """How frames are denoised: what the live parameters come down to."""

    schedule: Schedule
    guidance: Guidance = field(default_factory=Guidance)


@dataclass(frozen=True)
class _StepOfMany:
    """As `Step`, for rows that differ: columns (B, 1, 1, 1)."""

    alpha: Tensor
    sigma: Tensor
    timestep: Tensor
    estimate: tuple[Tensor, ...]
    advance: tuple[Tensor, ...]
    renoises: bool


def may_share(a: Plan, b: Plan) -> bool:
    """Whether frames of these plans can be denoised in the same calls."""
    counts = [(len(plan.schedule), plan.schedule.noise_fields) for plan in (a, b)]
    return counts[0] == counts[1] and a.guidance == b.guidance


def _together(plans: Sequence[Plan], device: torch.device) -> Sequence[Step | _StepOfMany]:
    """The steps of frames that `may_share`, one plan a frame."""
    if all(plan.schedule == plans[0].schedule for plan in plans):
        return plans[0].schedule.steps
    steps = []
    for rows in zip(*(plan.schedule.steps for plan in plans), strict=True):
        numbers = [[r.alpha, r.sigma, r.timestep, *r.estimate, *r.advance] for r in rows]
        columns = torch.tensor(numbers, dtype=torch.float32, device=device)[:, :, None, None, None].unbind(1)
        alpha, sigma, timestep, *rest = columns
        steps.append(_StepOfMany(alpha, sigma, timestep, tuple(rest[:2]), tuple(rest[2:]), rows[0].renoises))
    return steps


@torch.no_grad()
def denoise(
    frames: Sequence[Frame],
    plan: Plan | Sequence[Plan],
    predict: Predict,
    unconditional: Unconditional | None = None,
) -> list[Finished]:
    """All steps of `frames` at once, one call (rows = frames) per step.

    Args:
        frames: any number of frames of equal shapes, perhaps of different streams.
        plan: schedule and guidance of all of them, or one for each that `may_share` with the others.
        predict: the network.
        unconditional: needed for the guidance modes `full` and `initialize`.

    Raises:
        ParameterError: shapes do not fit; raised before the network is called.
    """
    plans = [plan] if isinstance(plan, Plan) else plan
    guidance = plans[0].guidance
    mode = guidance.active_mode
    check_unconditional(mode, unconditional)
    check_frames(frames, plans[0])
    if not frames or not plans[0].schedule.steps:
        return [Finished(frame.latent.clone(), frame.tag) for frame in frames]
    steps = _together(plans, frames[0].latent.device)
    latent = _rows([frame.latent for frame in frames])
    condition = {key: _rows([frame.condition[key] for frame in frames]) for key in frames[0].condition}
    with_negative, difference = condition, _known_difference(frames, mode)
    if unconditional is not None and (mode == "full" or (mode == "initialize" and difference is None)):
        negative_rows = unconditional(condition)
        with_negative = {key: torch.cat([value, negative_rows[key]]) for key, value in condition.items()}
    x = add_noise(latent, _rows([frame.noises[0] for frame in frames]), steps[0].alpha, steps[0].sigma)
    reference = latent
    for i, step in enumerate(steps):
        doubled = mode == "full" or (mode == "initialize" and difference is None)
        seen = torch.cat([x, x]) if doubled else x
        t = _times(step.timestep, len(seen), x.device)
        output = predict(seen, t, with_negative if doubled else condition)
        if mode == "full":
            output = guide(output[: len(x)], output[len(x) :], guidance.scale)
        elif doubled:
            output, negative = output.chunk(2)
            difference = estimate(x, output, *step.estimate) - estimate(x, negative, *step.estimate)
        x0 = estimate(x, output, *step.estimate)
        if difference is not None and i == 0:
            reference = x0 - difference
        if mode in ("self", "initialize"):
            x0 = guide_residual(x0, x, reference, step.alpha, guidance.scale, guidance.delta)
        noise = _rows([frame.noises[i + 1] for frame in frames]) if step.renoises else None
        x = advance(x, x0, noise, *step.advance)
    differences = [None] * len(frames) if difference is None else difference
    return [Finished(row, frame.tag, d) for row, frame, d in zip(x, frames, differences, strict=True)]


def _known_difference(frames: Sequence[Frame], mode: str) -> Tensor | None:
    """All frames' `Frame.difference`; None if one of them has none: a call has all the unconditional rows or none."""
    known = [frame.difference for frame in frames if frame.difference is not None]
    return _rows(known) if mode == "initialize" and len(known) == len(frames) else None


def _times(timestep: float | Tensor, rows: int, device: torch.device) -> Tensor:
    """(rows,): one number for all, or one a frame, again for the unconditional rows."""
    if isinstance(timestep, Tensor):
        return timestep.flatten().repeat(rows // len(timestep))
    return torch.full((rows,), timestep, device=device)


def _rows(tensors: Sequence[Tensor]) -> Tensor:
    """Stacked along a new first axis; one tensor is not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


def check_unconditional(mode: str, unconditional: Unconditional | None) -> None:
    if mode in ("full", "initialize") and unconditional is None:
        raise ParameterError("guidance", mode, "this model has no negative condition; choose from: none, self")


def check_frames(frames: Sequence[Frame], plan: Plan) -> None:
    """Raises `ParameterError` for the first tensor that does not fit the plan or the first frame."""
    fields = plan.schedule.noise_fields
    for frame in frames:
        latent, noises, first = frame.latent, frame.noises, frames[0]
        if latent.ndim != 3 or not latent.is_floating_point() or not _alike(latent, first.latent):
            raise ParameterError("latent", _describe(latent), f"give (C, h, w) floats like {_describe(first.latent)}")
        if noises.shape[1:] != latent.shape or len(noises) < fields or noises.dtype != latent.dtype:
            wanted = f"give at least {fields} noise fields of the latent's shape and dtype, {_describe(latent)}"
            raise ParameterError("noises", _describe(noises), wanted)
        if frame.difference is not None and not _alike(frame.difference, latent):
            raise ParameterError("difference", _describe(frame.difference), f"give (C, h, w) like {_describe(latent)}")
        if frame.condition.keys() != first.condition.keys():
            raise ParameterError("condition", sorted(frame.condition), f"give the keys {sorted(first.condition)}")
        for key, value in frame.condition.items():
            if not _alike(value, first.condition[key]):
                wanted = f"give the shape and dtype of the first frame, {_describe(first.condition[key])}"
                raise ParameterError(f"condition {key!r}", _describe(value), wanted)


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")
