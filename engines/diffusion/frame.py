"""A frame on its way through the pipeline: what it brings, and what comes of it.

Everything a frame needs travels with it (noise, conditions, what it saw of its stream's carried state), so that frames
of different streams can share a call and a change concerns only the frames that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.diffusion.guidance import DIFFERENCE
from driftcam.engines.diffusion.plan import Plan

Rows = dict[str, Tensor]
"""Values of a network's inputs by name: one row each (without the batch axis), or a batch of them."""
Predict = Callable[[Tensor, Tensor, Rows], Tensor]
"""predict(x (B, C, h, w), t (B,), condition of B rows) -> network output (B, C, h, w)."""
Unconditional = Callable[[Rows], Rows]
"""The same keys, shapes and number of rows with the negative condition, computed row by row."""


def _forget(name: str, state: Tensor) -> None:
    """What becomes of a frame's state where no stream carries it on."""


@dataclass(frozen=True)
class Frame:
    """A picture to denoise and all that belongs to it.

    Attributes:
        latent: the encoded picture, (C, h, w).
        noises: unit Gaussian fields, (at least `Schedule.noise_fields`, C, h, w); the first enters at step 1.
        condition: one row of the network's condition, tensors without the batch axis.
        tag: handed back with the result, for example index and capture time.
        carried: what the frame sees of its stream's carried state, by name. `DIFFERENCE` (C, h, w) spares guidance
            `initialize` the question for it.
        leave: leave(name, state) is told what the frame leaves for those that follow, from within the call and as soon
            as it is known: `DIFFERENCE` at the first step, so that the next frame sees it in a stream batch too, where
            this one finishes only some pushes later. The state is the receiver's own.
    """

    latent: Tensor
    noises: Tensor
    condition: Rows = field(default_factory=dict)
    tag: object = None
    carried: dict[str, Tensor] = field(default_factory=dict)
    leave: Callable[[str, Tensor], None] = _forget


@dataclass(frozen=True)
class Finished:
    """A denoised latent (C, h, w), owned by the caller, and the frame's tag."""

    latent: Tensor
    tag: object


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
        difference = frame.carried.get(DIFFERENCE, latent)
        if not _alike(difference, latent):
            raise ParameterError(DIFFERENCE, _describe(difference), f"give (C, h, w) like {_describe(latent)}")
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
