"""Stage 3: brushwork that follows the noise, so that it moves when the noise moves.

A flow trained on independent noise gives each noise a painting of its own: move the noise by a third of a cell, and
other strokes appear, however well the noise was carried. Here the teacher decides which strokes belong to which noise.
The continuous, band-limited field that the latent noise is a reading of is added to the photograph as faint blotches
before the teacher paints; its strokes follow the blotches. A shift of photograph and noise is then a shift of the
painting, by any fraction of a cell. On these couples the way from noise to painting is a straight line (reflow, Liu et
al., arXiv 2209.03003; InstaFlow, arXiv 2309.06380), so that one step paints sharply. With more freedom the photograph
is smoother and the blotches are stronger.
"""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.embedded.networks import LATENT_CHANNELS, STRIDE, Encoder, FlowUNet, degrade, hiding_level
from engines.noise.readout import band_limited_kernel, root_raised_cosine
from scripts.training.data import SIDE
from scripts.training.flow import LATENT_SIDE, Pairs
from scripts.training.progress import Run
from scripts.training.teacher import NAMED, VECTOR, Teacher, random_weights

POINTS = 4  # of the fine noise grid for each latent cell, as in the engine
MARGIN = 4  # cells of noise around the picture
GRID = POINTS * (SIDE // STRIDE + 2 * MARGIN)
FIELDS = 400  # fine noises, shared by the couples
BLOTCH_CHANNELS = 3  # the first channels of the noise are red, green and blue of the blotches
FAINTEST, STRONGEST = 10.0, 50.0  # deviation of the blotches in grey levels, at freedom 0 and 1
SMOOTHEST = 4.0  # px, blur of the photograph at freedom 1
ROLL_OFF = 0.1
ARBITRARY_SHARE = 0.25
ROUND_STEPS = 2500  # steps on one encoding of the couples, before they are shifted anew
RATE = 1e-3
INDEPENDENT_SHARE = 0.2  # of a batch with other noise than its own, at times where the painting shows through
BROAD_AFTER = 0.6


def noise_field(number: int) -> np.ndarray:
    """Fine white noise (C, GRID, GRID) float32."""
    return np.random.default_rng(900_000 + number).standard_normal((LATENT_CHANNELS, GRID, GRID), np.float32)


def continuous(fine: np.ndarray) -> np.ndarray:
    """The band-limited field behind a fine noise (c, GRID, GRID), of unit variance, at every pixel (SIDE, SIDE, c)."""
    place = POINTS * (np.arange(SIDE)[:, None] / STRIDE + MARGIN)
    distance = (np.arange(GRID)[None] - place) / POINTS
    pulse = root_raised_cosine(distance, ROLL_OFF) * (np.abs(distance) < 3)
    pulse = (pulse / np.linalg.norm(pulse, axis=1, keepdims=True)).astype(np.float32)
    return np.einsum("ya,cab,xb->yxc", pulse, fine, pulse, optimize=True)


def reading(shift: int) -> np.ndarray:
    """(LATENT_SIDE, GRID): reads the latent noise of the cells that begin `shift` px into the picture.

    The centre of a cell is where the blotch of the same place lies.
    """
    centre = POINTS * MARGIN + (shift + STRIDE / 2 - 0.5) * POINTS / STRIDE
    first = int(np.floor(centre)) + 1 - 3 * POINTS
    kernel = band_limited_kernel(POINTS, first + (6 * POINTS - 1) / 2 - centre)
    matrix = np.zeros((LATENT_SIDE, GRID), np.float32)
    for cell in range(LATENT_SIDE):
        start = first + POINTS * cell
        matrix[cell, start : start + len(kernel)] = kernel
    return matrix


def make_couples(teacher: Teacher, crops: np.ndarray, bank: np.ndarray, count: int, seed: int) -> dict[str, np.ndarray]:
    """`count` couples: index of the crop, number of the noise field, freedom, painting, style as in `make_pairs`."""
    rng = np.random.default_rng(seed)
    blotches = [continuous(noise_field(number)[:BLOTCH_CHANNELS]).astype(np.float16) for number in range(FIELDS)]
    result: dict[str, np.ndarray] = {
        "index": rng.integers(len(crops), size=count),
        "field": rng.integers(FIELDS, size=count),
        "freedom": rng.random(count).astype(np.float32),
        "stylised": np.empty((count, SIDE, SIDE, 3), np.uint8),
        "named": np.zeros((count, NAMED), np.float32),
        "vector": np.zeros((count, VECTOR), np.float32),
    }
    for k in range(count):
        freedom = float(result["freedom"][k])
        shown = with_blotches(crops[result["index"][k]], blotches[result["field"][k]], freedom)
        if rng.random() < ARBITRARY_SHARE:
            a, b = bank[rng.integers(len(bank), size=2)]
            mix = rng.uniform(0, 0.5)
            result["vector"][k] = (1 - mix) * a + mix * b
            result["stylised"][k] = teacher.arbitrary(shown, result["vector"][k])
        else:
            result["named"][k] = random_weights(rng)
            result["stylised"][k] = teacher.named(shown, result["named"][k])
        if k % 500 == 0:
            print(f"couples {k}/{count}", flush=True)
    return result


def with_blotches(photo: np.ndarray, blotches: np.ndarray, freedom: float) -> np.ndarray:
    """What the teacher is shown of a photograph (H, W, 3) u8."""
    smooth = cv2.GaussianBlur(photo, (0, 0), max(0.2, SMOOTHEST * freedom)).astype(np.float32)
    strength = FAINTEST + (STRONGEST - FAINTEST) * freedom
    return np.clip(smooth + strength * blotches.astype(np.float32), 0, 255).astype(np.uint8)


class Couples(Pairs):
    """Latents of all couples under one random shift, each with the noise that belongs to it."""

    noise = torch.empty(0)

    def encode(self, rng: np.random.Generator) -> None:
        self.top, self.left = (int(v) for v in rng.integers(0, STRIDE, size=2))
        self.encode_at(self.top, self.left)
        down, across = torch.from_numpy(reading(self.top)), torch.from_numpy(reading(self.left))
        fields = (torch.from_numpy(noise_field(number)) for number in range(FIELDS))
        self.noise = torch.stack([(down @ fine @ across.T).half() for fine in fields])

    def couples(self, size: int, side: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Paintings, photographs and noises (size, C, side, side), freedoms and style conditions."""
        chosen = rng.integers(len(self.stylised), size=size)
        rows: dict[str, list[Tensor]] = {"painting": [], "photo": [], "noise": []}
        for k in chosen:
            top, left = rng.integers(0, LATENT_SIDE - side + 1, size=2)
            window = (slice(None), slice(top, top + side), slice(left, left + side))
            rows["painting"].append(self.stylised[k][window])
            rows["photo"].append(self.photo[self.pairs["index"][k]][window])
            rows["noise"].append(self.noise[self.pairs["field"][k]][window])
        result = {name: torch.stack(values).float() for name, values in rows.items()}
        result["style"] = torch.from_numpy(np.stack([self.style(k, rng) for k in chosen]))
        result["freedom"] = torch.from_numpy(self.pairs["freedom"][chosen])
        return result


def train(
    folder: Path,
    trained: FlowUNet,
    encoder: Encoder,
    crops: np.ndarray,
    couples: dict,
    by_style: np.ndarray,
    minutes: float,
) -> FlowUNet:
    torch.manual_seed(2)
    torch.set_flush_denormal(True)
    rng = np.random.default_rng(2)
    model = copy.deepcopy(trained).train().requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run(folder, "coupled", model, optimiser, minutes)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = Couples(encoder, crops, couples, by_style)
    data.encode(rng)
    total, count = 0.0, 0
    while run.progress < 1:
        run.set_learning_rate(RATE)
        size, side = (32, 16) if run.progress < BROAD_AFTER else (12, 28)
        loss = straight_loss(model, **data.couples(size, side, rng))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.update(0.999)
        total, count = total + loss.item(), count + 1
        if run.step % 250 == 0:
            run.record(loss=round(total / count, 5))
            total, count = 0.0, 0
        if run.step % ROUND_STEPS == 0:
            data.encode(rng)
    return run.average


def straight_loss(
    model: nn.Module, painting: Tensor, photo: Tensor, noise: Tensor, style: Tensor, freedom: Tensor
) -> Tensor:
    """Squared error of the velocity on the straight line from noise to painting, half of the time at its start.

    A share sees other noise at later times, where the painting shows: there it learns to paint from any start, which
    a strength below 1 asks for.
    """
    size = len(painting)
    level = hiding_level(freedom)
    condition = degrade(photo, torch.randn_like(photo), level)
    t = torch.where(torch.rand(size) < 0.5, torch.ones(size), torch.rand(size))
    other = torch.rand(size) < INDEPENDENT_SHARE
    noise = torch.where(other.view(-1, 1, 1, 1), torch.randn_like(noise), noise)
    t = torch.where(other, 0.8 * torch.rand(size), t)
    x = torch.lerp(painting, noise, t.view(-1, 1, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model(x, condition, t, level, style)
    return F.mse_loss(velocity.float(), noise - painting)
