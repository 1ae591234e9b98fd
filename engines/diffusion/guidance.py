"""Classifier-free guidance and StreamDiffusion's residual forms of it (arXiv 2312.12491, section 3.2).

The paper guides ε: ε = ε_u + g·(ε_c − ε_u). For one latent x = A·x₀ + B·ε every prediction is affine
in the others, so the same line holds for the clean estimate, x̂₀ = x̂₀_u + g·(x̂₀_c − x̂₀_u), which has
no division by A and works from pure noise (A = 0) too. All of this module is written in x̂₀.

The residual modes replace the unconditional prediction by ε_u = δ·stock, where the stock starts as

* the frame's own noise (`self`), or
* the real unconditional ε_u of the first step (`initialize`),

and is carried along by stock' = ε' + (A'/B')·(x̂₀ − r). That recursion has a closed form: the stock always
is the noise that would lead from the current latent back to one fixed *reference* latent r,

    stock = (x − A·r)/B,    r = the input's latent (`self`) or x̂₀_u of the first step (`initialize`),

so r is the only thing to remember, it belongs to the frame, and nothing feeds back from one frame to
the next. (A stream may carry x̂₀_c − x̂₀_u of the first step, `DIFFERENCE`, from one frame to the next: r is then this
frame's x̂₀_c less that.) With ε_u = δ·stock the unconditional estimate becomes r + (1−δ)·(B/A)·stock.

Two bounds make this stable for every strength, g, δ and number of steps:

* (B/A)·stock, the stock in units of the latent, is limited to the norm of unit noise. Its gain B/A grows
  without limit with the strength (14 at the end of Stable Diffusion's schedule, infinite for a flow).
* the norm of the guided x̂₀ is limited to the greatest of `CEILING`, ‖x̂₀_c‖ and ‖x̂₀_u‖, so that guidance
  turns an estimate but cannot blow it up step after step.

Hence rms(x̂₀) ≤ max(CEILING, rms(x̂₀_c), rms(r) + |1−δ|), with neither g nor the number of steps in it.
At δ = 1 the first bound changes nothing, and latents have about unit variance, so that in ordinary use
the modes are the paper's. Guidance acts only for g > 1; for g ≤ 1 every mode is `none`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.parameters import TABLE
from driftcam.engines.diffusion.schedules import Number

DIFFERENCE = "difference"
"""Name of the carried state of guidance `initialize`: x̂₀_c − x̂₀_u of a frame's first step, (C, h, w)."""

CEILING = 4.0
"""Root mean square above which a guided latent (unit variance by convention) is no picture any more."""


@dataclass(frozen=True)
class Guidance:
    """What to guide with.

    Attributes:
        mode: one of `GUIDANCE_MODES`.
        scale: g; guidance acts for g > 1.
        delta: δ, weight of the stock in the modes `self` and `initialize`.
    """

    mode: str = "none"
    scale: float = 1.0
    delta: float = 1.0

    def __post_init__(self) -> None:
        TABLE["guidance"].check(self.mode)
        for name in ("scale", "delta"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ParameterError(f"guidance {name}", value, "give a number from 0 upwards")

    @property
    def active_mode(self) -> str:
        """The mode, or `none` where g ≤ 1 switches it off."""
        return self.mode if self.scale > 1 else "none"


def guide(conditional: Tensor, unconditional: Tensor, scale: Number) -> Tensor:
    """u + g·(c − u), arXiv 2207.12598; for estimates x̂₀, ε or network outputs of the same latent alike."""
    if isinstance(scale, Tensor) or conditional.dtype != unconditional.dtype:  # `lerp` wants one type of all
        return unconditional + scale * (conditional - unconditional)
    return torch.lerp(unconditional, conditional, scale)


def guide_residual(
    conditional: Tensor, x: Tensor, reference: Tensor, alpha: Number, scale: Number, delta: Number
) -> Tensor:
    """The guided x̂₀ of the modes `self` and `initialize`, bounded as the module describes.

    Args:
        conditional: x̂₀_c, (B, C, h, w).
        x: the latent that the network saw, (B, C, h, w).
        reference: r, (B, C, h, w).
        alpha: A of each row.
        scale: g > 1 of each row.
        delta: δ of each row.
    """
    unconditional = reference
    if isinstance(delta, Tensor) or delta != 1:
        unconditional = reference + (1 - delta) * limited_stock(x, reference, alpha)
    ceiling = torch.maximum(_rms(conditional), _rms(unconditional)).clamp(min=CEILING)
    guided = guide(conditional, unconditional, scale)
    return guided * (ceiling / _rms(guided)).clamp(max=1)


def limited_stock(x: Tensor, reference: Tensor, alpha: Number) -> Tensor:
    """(B/A)·stock = (x − A·r)/A, scaled down to a root mean square of 1 where it is above; A = 0 included."""
    deviation = x - alpha * reference
    return deviation / torch.clamp(_rms(deviation), min=alpha).clamp(min=torch.finfo(x.dtype).tiny)


def _rms(x: Tensor) -> Tensor:
    """Root mean square of each row, (B, 1, 1, 1)."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True) / math.sqrt(x[0].numel())
