"""Stage 3: straighten the flow, so that one or two steps give what eight gave.

Reflow (Liu et al., arXiv 2209.03003; InstaFlow, arXiv 2309.06380): the trained flow couples each noise with the
picture that it paints from it; on these couples the way from noise to picture is a function, so that a network
trained on straight lines between them keeps the texture in a single step. Half of each batch stays on real pairs.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftcam.engines.conditions.freedom import degrade, hiding_level
from driftcam.engines.models.embedded.networks import Encoder, FlowUNet
from scripts.training.flow import Pairs, flow_loss
from scripts.training.progress import Run

COUPLES = 4000
STEPS = 8  # of the painter
SIDE = 28
BATCH = 12
RATE = 5e-4


@torch.no_grad()
def couple(model: FlowUNet, data: Pairs, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """`count` noises, the latents that the model paints from them, and what it saw beside."""
    rows: dict[str, list[Tensor]] = {key: [] for key in ("noise", "latent", "condition", "level", "style")}
    times = torch.linspace(1, 0, STEPS + 1).tolist()
    for done in range(0, count, BATCH):
        _, photo, style = data.batch(BATCH, SIDE, rng)
        level = hiding_level(torch.rand(BATCH))
        condition = degrade(photo, torch.randn_like(photo), level)
        noise = torch.randn_like(photo)
        x = noise
        for now, following in itertools.pairwise(times):
            with torch.autocast("cpu", torch.bfloat16):
                velocity = model(x, torch.full((BATCH,), now), condition, level, style)
            x = x + (following - now) * velocity.float()
        values = {"noise": noise, "latent": x, "condition": condition, "level": level, "style": style}
        for key, value in values.items():
            rows[key].append(value.half())
        if done % 480 == 0:
            print(f"couples {done}/{count}", flush=True)
    return {key: torch.cat(parts) for key, parts in rows.items()}


def train(
    folder: Path, trained: FlowUNet, encoder: Encoder, crops: np.ndarray, pairs: dict, bank: np.ndarray, minutes: float
) -> FlowUNet:
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    model = copy.deepcopy(trained).train().requires_grad_(True)
    data = Pairs(encoder, crops, pairs, bank)
    data.encode(rng)
    path = folder / "couples.pt"
    if not path.exists():
        torch.save(couple(trained, data, COUPLES, rng), path)
    couples = torch.load(path, weights_only=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run(folder, "reflow", model, optimiser, minutes)
    total, count = 0.0, 0
    while run.progress < 1:
        run.set_learning_rate(RATE)
        chosen = torch.from_numpy(rng.integers(len(couples["noise"]), size=BATCH // 2))
        straight = straight_loss(model, {key: value[chosen].float() for key, value in couples.items()})
        loss = 0.5 * straight + 0.5 * flow_loss(model, *data.batch(BATCH // 2, SIDE, rng))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.update(0.998)
        total, count = total + straight.item(), count + 1
        if run.step % 250 == 0:
            run.record(straight=round(total / count, 5))
            total, count = 0.0, 0
    return run.average


def straight_loss(model: nn.Module, couples: dict[str, Tensor]) -> Tensor:
    """Squared error of the velocity on the straight line, half of the time at its start, t = 1."""
    size = len(couples["noise"])
    t = torch.where(torch.rand(size) < 0.5, torch.ones(size), torch.rand(size))
    x = torch.lerp(couples["latent"], couples["noise"], t.view(-1, 1, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model(x, t, couples["condition"], couples["level"], couples["style"])
    return F.mse_loss(velocity.float(), couples["noise"] - couples["latent"])
