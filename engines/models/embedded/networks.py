"""The three networks of the embedded model: encoder, decoder and the flow UNet.

All are small, fully convolutional and free of attention, so that they run at any size
that is a multiple of `STRIDE * UNET_STRIDE` and export to every backend.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftcam.engines.conditions.style import STYLE_DIM

LATENT_CHANNELS = 20
STRIDE = 8  # pixels per latent cell
UNET_STRIDE = 4  # latent cells per cell of the UNet's coarsest level


class _Residual(nn.Module):
    """Two 3×3 convolutions without normalisation, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] to latents (B, C, H/8, W/8), about unit variance per channel."""

    def __init__(self, channels: int = LATENT_CHANNELS) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, 64, 1),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            _Residual(96),
            nn.SiLU(),
            nn.Conv2d(96, channels, 3, padding=1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(pixels)


class Decoder(nn.Module):
    """Latents (B, C, h, w) to pixels (B, 3, 8h, 8w), nominally in [-1, 1] (not clipped)."""

    def __init__(self, channels: int = LATENT_CHANNELS) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 96, 3, padding=1),
            _Residual(96),
            _Residual(96),
            nn.SiLU(),
            nn.Conv2d(96, 48 * 4, 1),
            nn.PixelShuffle(2),
            _Residual(48),
            nn.SiLU(),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, latent: Tensor) -> Tensor:
        return self.body(latent)


class _FilmBlock(nn.Module):
    """Residual block whose second normalisation is scaled and shifted by the embedding."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(16, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm2 = nn.GroupNorm(16, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


def fourier_features(value: Tensor, dim: int = 64) -> Tensor:
    """(B,) numbers in [0, 1] to (B, dim) sines and cosines of geometric frequencies."""
    frequencies = torch.exp(torch.linspace(0, math.log(200.0), dim // 2, device=value.device))
    angle = value.float()[:, None] * frequencies[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class FlowUNet(nn.Module):
    """Rectified-flow velocity field v(x_t, t | photograph, freedom, style), with x_t = (1-t)·x + t·ε.

    Inputs: `x` (B, C, h, w), `t` (B,) in [0, 1], then those of the conditions `freedom` (`image_latent` (B, C, h, w),
    `level` (B,)) and `style` ((B, style_dim)). h and w are multiples of `UNET_STRIDE`. A style of zeros is "no style",
    the unconditional branch of classifier-free guidance. Returns v = ε - x, (B, C, h, w).
    """

    def __init__(
        self,
        channels: int = LATENT_CHANNELS,
        widths: tuple[int, int, int] = (64, 128, 192),
        style_dim: int = STYLE_DIM,
    ) -> None:
        super().__init__()
        a, b, c = widths
        e = 256
        self.style = nn.Sequential(nn.Linear(style_dim, e), nn.SiLU(), nn.Linear(e, e))
        self.time = nn.Sequential(nn.Linear(128, e), nn.SiLU(), nn.Linear(e, e))
        self.enter = nn.Conv2d(2 * channels, a, 3, padding=1)
        self.down1 = _FilmBlock(a, a, e)
        self.shrink1 = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.down2 = _FilmBlock(b, b, e)
        self.shrink2 = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.middle1 = _FilmBlock(c, c, e)
        self.middle2 = _FilmBlock(c, c, e)
        self.grow2 = nn.Conv2d(c, b, 1)
        self.up2 = _FilmBlock(2 * b, b, e)
        self.grow1 = nn.Conv2d(b, a, 1)
        self.up1 = _FilmBlock(2 * a, a, e)
        self.leave = nn.Sequential(nn.GroupNorm(16, a), nn.SiLU(), nn.Conv2d(a, channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, image_latent: Tensor, level: Tensor, style: Tensor) -> Tensor:
        features = torch.cat([fourier_features(t), fourier_features(level)], dim=1).to(style.dtype)
        embedding = F.silu(self.time(features) + self.style(style))
        fine = self.down1(self.enter(torch.cat([x, image_latent], dim=1)), embedding)
        half = self.down2(self.shrink1(fine), embedding)
        h = self.middle2(self.middle1(self.shrink2(half), embedding), embedding)
        h = F.interpolate(self.grow2(h), scale_factor=2.0, mode="nearest")
        h = self.up2(torch.cat([h, half], dim=1), embedding)
        h = F.interpolate(self.grow1(h), scale_factor=2.0, mode="nearest")
        h = self.up1(torch.cat([h, fine], dim=1), embedding)
        return self.leave(h)
