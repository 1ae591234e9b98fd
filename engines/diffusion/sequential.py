"""Denoising frames one after the other: all steps of a frame, or of one frame each of several streams, at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from driftcam.engines.diffusion.frame import (
    Finished,
    Frame,
    Predict,
    Unconditional,
    check_frames,
    check_unconditional,
)
from driftcam.engines.diffusion.guidance import DIFFERENCE
from driftcam.engines.diffusion.plan import Plan, shared_numbers
from driftcam.engines.diffusion.schedules import Number, add_noise
from driftcam.engines.diffusion.step import asks_negative, denoise_step, initial_reference, negative_difference


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
    mode, steps = plans[0].guidance.active_mode, plans[0].schedule.steps
    check_unconditional(mode, unconditional)
    check_frames(frames, plans[0])
    if not frames or not steps:
        return [Finished(frame.latent.clone(), frame.tag) for frame in frames]
    numbers = shared_numbers(plans, frames[0].latent.device)
    remembers = any(plan.schedule.remembers for plan in plans)
    latent = _stacked([frame.latent for frame in frames])
    condition = {key: _stacked([frame.condition[key] for frame in frames]) for key in frames[0].condition}
    with_negative, difference = condition, _carried_difference(frames)
    if asks_negative(mode, first=True, difference=difference):
        assert unconditional is not None
        negative_rows = unconditional(condition)
        with_negative = {key: torch.cat([value, negative_rows[key]]) for key, value in condition.items()}
    x = add_noise(latent, _stacked([frame.noises[0] for frame in frames]), numbers[0].alpha, numbers[0].sigma)
    reference, previous = latent if mode == "self" else None, None
    for i, n in enumerate(numbers):
        doubled = asks_negative(mode, first=i == 0, difference=difference)
        seen = torch.cat([x, x]) if doubled else x
        output = predict(seen, _times(n.timestep, len(seen), x.device), with_negative if doubled else condition)
        output, negative = output.chunk(2) if doubled else (output, None)
        if mode == "initialize" and i == 0:
            if negative is not None:
                difference = negative_difference(output, negative, n.from_output)
                for frame, row in zip(frames, difference, strict=True):
                    frame.leave(DIFFERENCE, row)
            assert difference is not None  # carried, or asked for
            reference = initial_reference(x, output, difference, n.from_x, n.from_output)
        noise = _stacked([frame.noises[i + 1] for frame in frames]) if steps[i].renoises else None
        x, x0 = denoise_step(n, x, output, negative if mode == "full" else None, reference, previous, noise)
        previous = x0 if remembers else None
    return [Finished(row, frame.tag) for row, frame in zip(x, frames, strict=True)]


def _carried_difference(frames: Sequence[Frame]) -> Tensor | None:
    """That of all frames; None if one of them has none: a call has all the negative rows or none."""
    known = [frame.carried[DIFFERENCE] for frame in frames if DIFFERENCE in frame.carried]
    return _stacked(known) if len(known) == len(frames) else None


def _times(timestep: Number, count: int, device: torch.device) -> Tensor:
    """(count,): one number for all, or one a frame, again for the negative rows."""
    if isinstance(timestep, Tensor):
        return timestep.flatten().repeat(count // len(timestep))
    return torch.full((count,), timestep, device=device)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Along a new first axis; one tensor is not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))
