"""What the live parameters come down to: the numbers of every denoising step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from driftcam.engines.diffusion.guidance import Guidance
from driftcam.engines.diffusion.schedules import Number, Schedule, Step


class Numbers(NamedTuple):
    """The numbers of one step: floats where all rows are alike, columns (B, 1, 1, 1) where they differ.

    See `Step` and `Guidance`, whose tuples lie here flat.
    """

    timestep: Number
    alpha: Number
    sigma: Number
    from_x: Number
    from_output: Number
    keep: Number
    gain: Number
    history: Number
    renoise: Number
    scale: Number
    delta: Number

    @staticmethod
    def of(step: Step, guidance: Guidance) -> Numbers:
        levels = step.timestep, step.alpha, step.sigma
        return Numbers(*levels, *step.estimate, *step.advance, guidance.scale, guidance.delta)


@dataclass(frozen=True)
class Plan:
    """How frames are denoised."""

    schedule: Schedule
    guidance: Guidance = field(default_factory=Guidance)

    @functools.cached_property
    def numbers(self) -> tuple[Numbers, ...]:
        """Of each step, floats."""
        return tuple(Numbers.of(step, self.guidance) for step in self.schedule.steps)

    @functools.cached_property
    def table(self) -> Tensor:
        """`numbers` as (steps, numbers) floats."""
        return torch.tensor(self.numbers, dtype=torch.float32)


def may_share(a: Plan, b: Plan) -> bool:
    """Whether frames of these plans can be denoised in the same calls."""
    counts = [(len(plan.schedule), plan.schedule.noise_fields) for plan in (a, b)]
    return counts[0] == counts[1] and a.guidance == b.guidance


def shared_numbers(plans: Sequence[Plan], device: torch.device) -> Sequence[Numbers]:
    """Of each step, for frames whose plans `may_share`, one plan a frame: floats, or columns where schedules differ."""
    if all(plan.schedule == plans[0].schedule for plan in plans):
        return plans[0].numbers
    scale, delta = plans[0].guidance.scale, plans[0].guidance.delta  # those of all
    tables = torch.stack([plan.table for plan in plans], 1).to(device)[..., None, None, None]
    return [Numbers(*table.unbind(1))._replace(scale=scale, delta=delta) for table in tables]
