"""The denoising step of both pipelines: `sequential`, with all rows at one step, and `stream_batch`, with them at many.

From a step to the next a row remembers its latent x, in the residual guidance modes its reference r, and for a
multistep solver the x̂₀ of the step before.
"""

from __future__ import annotations

from torch import Tensor

from driftcam.engines.diffusion.guidance import guide, guide_residual
from driftcam.engines.diffusion.plan import Numbers
from driftcam.engines.diffusion.schedules import Number, advance, estimate


def denoise_step(
    numbers: Numbers,
    x: Tensor,
    output: Tensor,
    negative: Tensor | None,
    reference: Tensor | None,
    previous: Tensor | None,
    noise: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """x' and x̂₀, tensors of their own; all (B, C, h, w).

    Args:
        numbers: of the step, or of each row's.
        x: the latents that the network saw.
        output: of the network.
        negative: its output with the negative condition in mode `full`, else None.
        reference: r in the modes `self` (the input's latent) and `initialize` (`initial_reference`), else None.
        previous: x̂₀ of the step before, None where no solver looks back.
        noise: ε', None where nothing re-noises.
    """
    n = numbers
    if negative is not None:
        output = guide(output, negative, n.scale)
    x0 = estimate(x, output, n.from_x, n.from_output)
    if reference is not None:
        x0 = guide_residual(x0, x, reference, n.alpha, n.scale, n.delta)
    return advance(x, x0, previous, noise, n.keep, n.gain, n.history, n.renoise), x0


def asks_negative(mode: str, *, first: bool, difference: Tensor | None) -> bool:
    """Whether a row's step needs the network's output with the negative condition.

    Args:
        mode: `Guidance.active_mode`.
        first: whether it is the row's first step.
        difference: what its frame sees of the stream's `DIFFERENCE`.
    """
    return mode == "full" or (mode == "initialize" and first and difference is None)


def negative_difference(output: Tensor, negative: Tensor, from_output: Number) -> Tensor:
    """x̂₀_c − x̂₀_u of rows of one x: what `DIFFERENCE` holds of the first step."""
    return (from_output * (output - negative)).to(output.dtype)


def initial_reference(x: Tensor, output: Tensor, difference: Tensor, from_x: Number, from_output: Number) -> Tensor:
    """r of guidance `initialize`, x̂₀_u of the first step."""
    return estimate(x, output, from_x, from_output) - difference
