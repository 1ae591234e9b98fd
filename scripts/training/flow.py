"""Stage 2: the rectified flow on cached latents of photograph and stylised picture."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftcam.engines.conditions.freedom import degrade, hiding_level
from driftcam.engines.models.embedded.networks import STRIDE, Encoder, FlowUNet
from scripts.training.autoencoder import to_pixels
from scripts.training.progress import Run, mixed
from scripts.training.teacher import STYLES, VECTOR

LATENT_SIDE = 31  # 248 of 256 pixels: room for a shift of up to one cell
ROUND_STEPS = 6000  # steps on one encoding of the pairs, before they are shifted and flipped anew
RATE = 1.2e-3
STYLE_DROP = 0.08
VECTOR_FOR_NAMED = 0.2  # share of named-style samples that show the style as a picture's vector instead
BROAD_AFTER = 0.7  # share of the time on small windows; the rest on broad ones, nearer to real use


class Pairs:
    """Latents of all pairs under one random shift and flip, with their style conditions."""

    def __init__(self, encoder: Encoder, crops: np.ndarray, pairs: dict, bank_by_style: np.ndarray) -> None:
        self.encoder, self.crops, self.pairs, self.bank_by_style = encoder, crops, pairs, bank_by_style
        self.photo = self.stylised = torch.empty(0)

    def encode(self, rng: np.random.Generator) -> None:
        top, left = rng.integers(0, STRIDE, size=2)
        flip = bool(rng.integers(2))
        span = LATENT_SIDE * STRIDE

        def latents(images: np.ndarray) -> Tensor:
            parts = []
            for start in range(0, len(images), 32):
                window = images[start : start + 32, top : top + span, left : left + span]
                with torch.no_grad(), mixed():
                    pixels = to_pixels(window[:, :, ::-1] if flip else window)
                    parts.append(self.encoder(pixels.contiguous(memory_format=torch.channels_last)).half())
            return torch.cat(parts)

        self.photo, self.stylised = latents(self.crops), latents(self.pairs["stylised"])

    def batch(self, size: int, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Stylised latents, photograph latents (B, C, side, side) and style conditions (B, 126)."""
        chosen = rng.integers(len(self.stylised), size=size)
        photo, stylised, style = [], [], np.zeros((size, STYLES + VECTOR), np.float32)
        for row, k in enumerate(chosen):
            top, left = rng.integers(0, LATENT_SIDE - side + 1, size=2)
            window = (slice(None), slice(top, top + side), slice(left, left + side))
            photo.append(self.photo[self.pairs["index"][k]][window])
            stylised.append(self.stylised[k][window])
            style[row] = self._style(k, rng)
        return torch.stack(stylised).float(), torch.stack(photo).float(), torch.from_numpy(style)

    def _style(self, k: int, rng: np.random.Generator) -> np.ndarray:
        named, vector = self.pairs["named"][k], self.pairs["vector"][k]
        if rng.random() < STYLE_DROP:
            return np.zeros(STYLES + VECTOR, np.float32)
        if named.max() == 1 and rng.random() < VECTOR_FOR_NAMED:
            options = self.bank_by_style[int(named.argmax())]
            named, vector = np.zeros_like(named), options[rng.integers(len(options))]
        return np.concatenate([named, vector])


def random_time(count: int) -> Tensor:
    """t in (0, 1]: mostly logit-normal, one in five at or close to 1, where few-step sampling starts."""
    t = torch.sigmoid(torch.randn(count) + 0.2)
    late = 1 - 0.1 * torch.rand(count).square()
    return torch.where(torch.rand(count) < 0.2, late, t)


def train(
    folder: Path,
    encoder: Encoder,
    crops: np.ndarray,
    pairs: dict,
    bank: np.ndarray,
    minutes: float,
    begun: FlowUNet | None = None,
) -> FlowUNet:
    """From nothing, or from the trained network `begun` at a third of the rate."""
    torch.manual_seed(1)
    torch.set_flush_denormal(True)
    rng = np.random.default_rng(1)
    model = FlowUNet(style_dim=STYLES + VECTOR) if begun is None else copy.deepcopy(begun).train().requires_grad_(True)
    rate = RATE if begun is None else RATE / 3
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run(folder, "flow", model, optimiser, minutes)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = Pairs(encoder, crops, pairs, bank)
    data.encode(rng)
    total, count = 0.0, 0
    while run.progress < 1:
        run.set_learning_rate(rate)
        size, side = (32, 16) if run.progress < BROAD_AFTER else (12, 28)
        target, photo, style = data.batch(size, side, rng)
        loss = flow_loss(model, target, photo, style)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.update(0.9995)
        total, count = total + loss.item(), count + 1
        if run.step % 500 == 0:
            run.record(loss=round(total / count, 5))
            total, count = 0.0, 0
        if run.step % ROUND_STEPS == 0:
            data.encode(rng)
    return run.average


def flow_loss(model: nn.Module, target: Tensor, photo: Tensor, style: Tensor) -> Tensor:
    """Squared error of the velocity at a random time, freedom and noise."""
    level = hiding_level(torch.rand(len(target)))
    condition = degrade(photo, torch.randn_like(photo), level)
    noise, t = torch.randn_like(target), random_time(len(target))
    x = torch.lerp(target, noise, t.view(-1, 1, 1, 1))
    with mixed():
        velocity = model(x, t, condition, level, style)
    return F.mse_loss(velocity.float(), noise - target)
