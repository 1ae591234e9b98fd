"""The three networks of the embedded model: encoder, decoder and the flow UNet.

All are small, fully convolutional and free of attention, so that they run at any size
that is a multiple of `STRIDE * UNET_STRIDE` and export to every backend.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT_CHANNELS = 20
STRIDE = 8  # pixels per latent cell
UNET_STRIDE = 4  # latent cells per cell of the UNet's coarsest level
STYLE_DIM = 126  # 26 named weights followed by a 100-number style vector


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

    Inputs: `x` and `condition` (B, C, h, w), `t` and `level` (B,) in [0, 1] (`hiding_level` of the
    freedom, see `degrade`), `style` (B, STYLE_DIM). h and w are multiples of `UNET_STRIDE`. A style of
    zeros is "no style", the unconditional branch of classifier-free guidance. Returns v = ε - x, (B, C, h, w).
    """

    def __init__(self, channels: int = LATENT_CHANNELS, widths: tuple[int, int, int] = (64, 128, 192)) -> None:
        super().__init__()
        a, b, c = widths
        e = 256
        self.style = nn.Sequential(nn.Linear(STYLE_DIM, e), nn.SiLU(), nn.Linear(e, e))
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

    def forward(self, x: Tensor, condition: Tensor, t: Tensor, level: Tensor, style: Tensor) -> Tensor:
        features = torch.cat([fourier_features(t), fourier_features(level)], dim=1).to(style.dtype)
        embedding = F.silu(self.time(features) + self.style(style))
        fine = self.down1(self.enter(torch.cat([x, condition], dim=1)), embedding)
        half = self.down2(self.shrink1(fine), embedding)
        h = self.middle2(self.middle1(self.shrink2(half), embedding), embedding)
        h = F.interpolate(self.grow2(h), scale_factor=2.0, mode="nearest")
        h = self.up2(torch.cat([h, half], dim=1), embedding)
        h = F.interpolate(self.grow1(h), scale_factor=2.0, mode="nearest")
        h = self.up1(torch.cat([h, fine], dim=1), embedding)
        return self.leave(h)


Freedom = TypeVar("Freedom", float, Tensor)


def hiding_level(freedom: Freedom) -> Freedom:
    """The UNet's level of a freedom in [0, 1]; training draws freedom evenly, so it mostly sees the picture."""
    return freedom**1.5


def degrade(condition: Tensor, noise: Tensor, level: float | Tensor) -> Tensor:
    """The photograph's latent as the UNet sees it: variance-preserving noise of angle π/2·level.

    `level`, one number or (B,), in [0, 1]: 0 shows the photograph exactly, 1 hides it.
    """
    angle = level * (math.pi / 2)
    if isinstance(angle, float):
        return torch.add(condition * math.cos(angle), noise, alpha=math.sin(angle))
    angle = angle.view(-1, 1, 1, 1)
    return condition * angle.cos() + noise * angle.sin()


def hiding_noise(noise: Tensor) -> Tensor:
    """What hides the photograph where a stream carries one field of noise, (B, C, h, w), that the latent starts from.

    The same numbers on other channels, every second with the other sign: half as much noise to carry. The UNet was
    trained with noise of its own for this, and paints as well with both; the model card compares them.
    """
    mixed = noise.roll(noise.shape[1] // 2, 1)
    mixed[:, 1::2].neg_()
    return mixed
