"""Losses and measures of what a squared error does not see: how much texture there is, and the latent grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from driftcam.engines.models.embedded.networks import STRIDE

AREA = 16  # pixels: texture is compared in areas of this side, wherever in them its strokes lie
FAINT = 0.03  # gradient magnitude below which texture does not count
SCALES = 3


def luma(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 1, H, W)."""
    return (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def energy(grey: Tensor) -> Tensor:
    """Mean gradient magnitude of each area, (B, 1, ~H/8, ~W/8); areas overlap by half."""
    dx, dy = grey[..., :-1, 1:] - grey[..., :-1, :-1], grey[..., 1:, :-1] - grey[..., :-1, :-1]
    magnitude = (dx.square() + dy.square() + 1e-8).sqrt()
    return F.avg_pool2d(magnitude, AREA, AREA // 2)


def texture_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean log ratio of the local gradient magnitudes, at three scales.

    A squared error alone paints the mean of the strokes that there may be, which is smooth; this asks for as many
    strokes as the target has, and leaves their places to the other losses.
    """
    output, target = luma(output), luma(target)
    loss = output.new_zeros(())
    for scale in range(SCALES):
        if scale:
            output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
        loss = loss + ((energy(output) + FAINT) / (energy(target) + FAINT)).log().abs().mean()
    return loss / SCALES


def grid_ratio(pixels: Tensor, cell: int = STRIDE) -> Tensor:
    """Gradient across the borders of the latent's cells ÷ elsewhere, over all of (B, 3, H, W); 1 shows no grid."""
    grey = luma(pixels)
    ratios = []
    for steps in ((grey[..., 1:] - grey[..., :-1]), (grey[..., 1:, :] - grey[..., :-1, :]).transpose(2, 3)):
        profile = steps.abs().mean((0, 1, 2))
        border = torch.arange(1, len(profile) + 1, device=profile.device) % cell == 0
        ratios.append(profile[border].mean() / profile[~border].mean())
    return torch.stack(ratios).mean()
