"""Stage 4: the decoder alone, on what the painter gives it.

The autoencoder's training shows the decoder pictures' own latents; a painter's latents are never quite those, and on
them it draws smoother strokes than the picture has, and the cells of the latent as a grid. The encoder, and with it
the latent, stay as they are.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from driftcam.engines.models.embedded.networks import STRIDE, Decoder, Encoder
from scripts.training.autoencoder import reconstruction_loss, to_pixels
from scripts.training.progress import Run, mixed
from scripts.training.texture import grid_ratio, texture_loss

CROP, BATCH = 128, 8
PAINTED = 240  # latents of the painter
RATE = 4e-4
NOISE = 0.15  # upper end of the level of noise on half of the latents
TEXTURE, GRID = 0.15, 2.0  # weights of the losses beside the reconstruction's


def train(
    folder: Path,
    encoder: Encoder,
    decoder: Decoder,
    photos: np.ndarray,
    stylised: np.ndarray,
    painted: Tensor,
    minutes: float,
) -> Decoder:
    """`painted`: latents that the painter paints in one step; they have no picture, but should show no grid."""
    torch.manual_seed(4)
    rng = np.random.default_rng(4)
    model = copy.deepcopy(decoder).train().requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    run = Run(folder, "polish", model, optimiser, minutes)
    sums: dict[str, float] = {}
    while run.progress < 1:
        run.set_learning_rate(RATE)
        losses = _losses(model, encoder, windows(photos, stylised, rng), painted, rng)
        loss = losses["pixels"] + TEXTURE * losses["texture"] + GRID * losses["grid"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.update()
        sums = {name: sums.get(name, 0.0) + value.item() for name, value in losses.items()}
        if run.step % 200 == 0:
            run.record(**{name: round(value / 200, 5) for name, value in sums.items()})
            sums = {}
    return run.average


def _losses(
    model: Decoder, encoder: Encoder, target: Tensor, painted: Tensor, rng: np.random.Generator
) -> dict[str, Tensor]:
    side = CROP // STRIDE
    with torch.no_grad():
        latent = encoder(target)
        level = torch.rand(len(latent), 1, 1, 1) * NOISE * (torch.rand(len(latent), 1, 1, 1) < 0.5)
        latent = latent + level * torch.randn_like(latent)
        chosen = torch.from_numpy(rng.integers(len(painted), size=BATCH))
        top, left = rng.integers(0, painted.shape[-1] - side + 1, size=2)
        ours = painted[chosen, :, top : top + side, left : left + side].float()
    with mixed():
        output, unpaired = model(torch.cat([latent, ours])).split([len(latent), len(ours)])
    output, unpaired = output.float(), unpaired.float()
    ratios = [grid_ratio(part, cell) for part in (output, unpaired) for cell in (STRIDE, STRIDE // 2)]
    grid = (torch.stack(ratios) - 1).square().sum()
    return {"pixels": reconstruction_loss(output, target), "texture": texture_loss(output, target), "grid": grid}


def windows(photos: np.ndarray, stylised: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A quarter photographs, the rest stylised: random windows, (BATCH, 3, CROP, CROP) in [-1, 1]."""
    batch = np.empty((BATCH, CROP, CROP, 3), np.uint8)
    for k in range(BATCH):
        source = stylised if k % 4 else photos
        image = source[rng.integers(len(source))]
        top, left = rng.integers(0, image.shape[0] - CROP + 1, size=2)
        batch[k] = image[top : top + CROP, left : left + CROP]
    return to_pixels(batch)
