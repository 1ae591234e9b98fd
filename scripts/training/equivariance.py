"""Stage 4: a shift of the picture and its noise becomes a shift of the painting, and every step paints sharply.

Warped noise moves by fractions of a latent cell. A network that never saw such a pair takes each fraction for other
noise and paints other brushwork, however well the noise was carried. Here the same scene is painted twice, photograph
and noise moved together by a few pixels, and the difference of the two aligned paintings is penalised in pixels.
That alone would be won by painting nothing, or by painting what the photograph dictates: a discriminator on latents
(adversarial distillation, Sauer et al., arXiv 2311.17042) keeps the brushwork as rich as the teacher's, and two
paintings of one window from two noises must differ (mode seeking, Mao et al., arXiv 1903.05628). Broad shapes and
colours stay those of the teacher's picture.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from engines.embedded.networks import LATENT_CHANNELS, STRIDE, STYLE_DIM, Decoder, Encoder, FlowUNet, degrade
from engines.embedded.networks import hiding_level
from engines.noise.readout import band_limited_kernel
from scripts.training.autoencoder import to_pixels
from scripts.training.flow import Pairs
from scripts.training.progress import Run

CELLS = 20
BATCH = 8
MOST_SHIFT = 12  # px
POINTS = 4
BORDER = 2 * STRIDE  # px that are not compared: the networks see the window's edge there
STEP_COUNTS, STEP_SHARES = (1, 2, 4), (0.45, 0.35, 0.2)
RATE, CRITIC_RATE = 2e-4, 4e-4
ALIGNED, DIVERSE, BROAD, ADVERSARIAL = 6.0, 3.0, 1.0, 0.3  # weights of the losses
# Of two paintings from two noises, mean absolute in pixels of [-1, 1], at freedom 0 and 1. Reflow leaves .3 at any
# freedom, where the noise drowns the subject.
DIFFERENCE = (0.10, 0.30)


class Critic(nn.Module):
    """Latents (B, C, h, w) of a painting, beside those of its photograph and its style, to a score for each place."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.body = nn.Sequential(
            spectral_norm(nn.Conv2d(2 * LATENT_CHANNELS, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 2 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
        )
        self.score = spectral_norm(nn.Conv2d(2 * width, 1, 1))
        self.style = spectral_norm(nn.Linear(STYLE_DIM, 2 * width))

    def forward(self, painting: Tensor, photo: Tensor, style: Tensor) -> Tensor:
        features = self.body(torch.cat([painting, photo], 1))
        likeness = (features * self.style(style)[:, :, None, None]).sum(1, keepdim=True) / features.shape[1] ** 0.5
        return self.score(features) + likeness


def reading(shift: int, cells: int, points: int) -> Tensor:
    """(cells, points of the fine grid): reads white noise at `shift` px, through the kernel that the engine uses."""
    whole, half = divmod(shift * POINTS, STRIDE)
    kernel = torch.from_numpy(band_limited_kernel(POINTS, -half / STRIDE)).float()
    matrix = torch.zeros(cells, points)
    for cell in range(cells):
        start = POINTS * cell + whole
        matrix[cell, start : start + len(kernel)] = kernel
    return matrix


def shifted_noise(count: int, shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """White latent noise (count, C, CELLS, CELLS), and the same noise in a window `shift` (y, x) px further on."""
    points = POINTS * (CELLS + 6 + MOST_SHIFT // STRIDE + 1)
    fine = torch.randn(count * LATENT_CHANNELS, points, points)
    windows = []
    for y, x in ((0, 0), shift):
        window = reading(y, CELLS, points) @ fine @ reading(x, CELLS, points).T
        windows.append(window.view(count, LATENT_CHANNELS, CELLS, CELLS))
    return windows[0], windows[1]


class Windows:
    """Pairs of windows on the same photograph, and the teacher's picture of the first; each comes twice in a row."""

    def __init__(self, encoder: Encoder, pairs: Pairs, rng: np.random.Generator) -> None:
        self._encoder, self._pairs, self._rng = encoder, pairs, rng

    def draw(self, shift: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Photographs' latents (2·BATCH: first windows, then the shifted), teacher's latents, style conditions."""
        side = CELLS * STRIDE
        chosen = self._rng.integers(len(self._pairs.pairs["named"]), size=BATCH // 2).repeat(2)
        pictures = []
        top, left = self._rng.integers(0, 256 - side - MOST_SHIFT + 1, size=2)
        flip = bool(self._rng.integers(2))
        for source, (dy, dx) in ((self._photos(chosen), (0, 0)), (self._photos(chosen), shift), (None, (0, 0))):
            images = self._pairs.pairs["stylised"][chosen] if source is None else source
            images = images[:, :, ::-1] if flip else images
            pictures.append(images[:, top + dy : top + dy + side, left + dx : left + dx + side])
        styles = [self._pairs.style(k, self._rng) for k in chosen[::2]]
        with torch.no_grad():
            latents = self._encoder(to_pixels(np.concatenate(pictures)).contiguous(memory_format=torch.channels_last))
        return latents[: 2 * BATCH], latents[2 * BATCH :], torch.from_numpy(np.stack(styles)).repeat_interleave(2, 0)

    def _photos(self, chosen: np.ndarray) -> np.ndarray:
        return self._pairs.crops[self._pairs.pairs["index"][chosen]]


def paint(model: nn.Module, noise: Tensor, condition: Tensor, level: Tensor, style: Tensor, steps: int, step: int):
    """What the model takes for the finished painting at `step` of `steps`; gradients through that step alone."""
    x, size = noise, len(noise)
    for k in range(step + 1):
        t = 1 - k / steps
        with torch.set_grad_enabled(k == step), torch.autocast("cpu", torch.bfloat16):
            velocity = model(x, condition, torch.full((size,), t), level, style).float()
        if k < step:
            x = x - velocity / steps
    return x - t * velocity


def aligned_difference(first: Tensor, second: Tensor, shift: tuple[int, int]) -> Tensor:
    """Mean absolute difference of two paintings (B, 3, H, W), the second one's window lying `shift` px further on."""
    (dy, dx), b = shift, BORDER
    height, width = first.shape[2], first.shape[3]
    here = first[:, :, dy + b : height - b, dx + b : width - b]
    there = second[:, :, b : height - dy - b, b : width - dx - b]
    return (here - there).abs().mean()


def train(
    folder: Path, trained: FlowUNet, encoder: Encoder, decoder: Decoder, crops: np.ndarray, pairs: dict,
    bank: np.ndarray, minutes: float,
) -> FlowUNet:  # fmt: skip
    torch.manual_seed(4)
    torch.set_flush_denormal(True)
    rng = np.random.default_rng(4)
    model = copy.deepcopy(trained).train().requires_grad_(True)
    critic = Critic()
    both = nn.ModuleDict({"model": model, "critic": critic})
    optimiser = torch.optim.AdamW(
        [{"params": model.parameters()}, {"params": critic.parameters(), "name": "critic"}],
        lr=RATE, betas=(0.5, 0.99), weight_decay=1e-4,
    )  # fmt: skip
    run = Run(folder, "equivariance", both, optimiser, minutes)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decoder = copy.deepcopy(decoder).eval().requires_grad_(False)
    decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    windows = Windows(encoder, Pairs(encoder, crops, pairs, bank), rng)
    totals: dict[str, float] = {}
    count = 0
    while run.progress < 1:
        run.set_learning_rate(RATE)
        optimiser.param_groups[1]["lr"] *= CRITIC_RATE / RATE
        shift = (int(rng.integers(0, MOST_SHIFT + 1)), int(rng.integers(0, MOST_SHIFT + 1)))
        photo, teacher, style = windows.draw(shift)
        losses = step(model, critic, decoder, photo, teacher, style, shift, rng)
        optimiser.zero_grad(set_to_none=True)
        losses.pop("loss").backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
        optimiser.step()
        run.update(0.998)
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value)
        count += 1
        if run.step % 100 == 0:
            run.record(**{name: round(value / count, 4) for name, value in totals.items()})
            totals, count = {}, 0
    return run.average["model"]


def step(
    model: nn.Module, critic: Critic, decoder: Decoder, photo: Tensor, teacher: Tensor, style: Tensor,
    shift: tuple[int, int], rng: np.random.Generator,
) -> dict[str, Tensor]:  # fmt: skip
    """One step's losses; `loss` is what both networks descend, each through its own part."""
    noise = torch.cat(shifted_noise(BATCH, shift))
    hiding = torch.cat(shifted_noise(BATCH, shift))
    freedom = torch.rand(BATCH // 2).repeat_interleave(2).repeat(2)
    level = hiding_level(freedom)
    condition = degrade(photo, hiding, level)
    styles = style.repeat(2, 1)
    steps = int(rng.choice(STEP_COUNTS, p=STEP_SHARES))
    painting = paint(model, noise, condition, level, styles, steps, int(rng.integers(steps)))
    with torch.autocast("cpu", torch.bfloat16):
        pixels = decoder(painting.contiguous(memory_format=torch.channels_last)).float()
        real, fake = critic(teacher, photo[:BATCH], style).float(), critic(painting.detach(), photo, styles).float()
        critic.requires_grad_(False)
        score = critic(painting, photo, styles).float()
        critic.requires_grad_(True)
    aligned = aligned_difference(pixels[:BATCH], pixels[BATCH:], shift)
    diverse = (pixels[0::2] - pixels[1::2]).abs().mean((1, 2, 3))
    away = (F.avg_pool2d(painting[:BATCH], 2) - F.avg_pool2d(teacher, 2)).square().mean((1, 2, 3))
    broad = ((1 - 0.8 * freedom[:BATCH]) * away).mean()
    judged = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    alike = F.relu(torch.lerp(*torch.tensor(DIFFERENCE), freedom[::2]) - diverse).mean()
    loss = ALIGNED * aligned + DIVERSE * alike + BROAD * broad - ADVERSARIAL * score.mean() + judged
    sharp = (pixels[..., 1:] - pixels[..., :-1]).detach().abs().mean()
    return {"loss": loss, "aligned": aligned.detach(), "diverse": diverse.mean().detach(), "broad": broad.detach(), "critic": judged.detach(),
            "score": score.mean().detach(), "sharp": sharp}  # fmt: skip
