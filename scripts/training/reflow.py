"""Stage 3: straighten the flow, so that one step, from wherever a stream starts it, gives what eight gave.

Reflow (Liu et al., arXiv 2209.03003; InstaFlow, arXiv 2309.06380): the trained flow couples each start with the
picture that it paints from it; on these couples the way from start to picture is a function, so that a network trained
on straight lines between them paints a sample of it in a single step, where a network trained on real pairs alone
paints their mean. A live stream starts at any noise level from the photograph or from what was painted before; the
couples do, too (a start that only ever was noise makes a one-step painter of full strength only).

The painter's own eight steps are smoother than its teachers. The texture that is missing is asked for in pixels: as
much of it, at several scales, as the teacher has there (`texture.py`).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftcam.engines.conditions.freedom import degrade, hiding_level
from driftcam.engines.models.embedded.networks import Decoder, Encoder, FlowUNet
from scripts.training.flow import Pairs
from scripts.training.progress import Run, mixed
from scripts.training.texture import texture_loss

COUPLES = 3000
STEPS = 8  # of the painter
LEAST = 0.3  # strength of the weakest start
SIDE = 28
BATCH = 12
RATE = 4e-4
SHOWN = 16  # latent cells of the window that the texture is compared in, of every third row
TEXTURE = 0.1

Velocity = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def paint(model: Velocity, start: Tensor, strength: Tensor, told: tuple[Tensor, Tensor, Tensor], steps: int) -> Tensor:
    """Euler's steps from (B, C, h, w) at noise level `strength`, (B,), to the picture's latent."""
    x = start
    for now, following in itertools.pairwise(torch.linspace(1, 0, steps + 1).tolist()):
        with mixed():
            velocity = model(x, now * strength, *told)
        x = x + (following - now) * strength.view(-1, 1, 1, 1) * velocity.float()
    return x


@torch.no_grad()
def couple(model: FlowUNet, data: Pairs, count: int, steps: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """`count` starts, their noise levels, the latents painted from them, what the painter saw, the teacher's latent.

    A third starts from noise alone, a third from a photograph, a third from a painting of it in that style.
    """
    rows: dict[str, list[Tensor]] = {}
    for done in range(0, count, BATCH):
        taught, photo, style = data.batch(BATCH, SIDE, rng)
        level = hiding_level(torch.rand(BATCH))
        condition = degrade(photo, torch.randn_like(photo), level)
        strength = LEAST + (1 - LEAST) * torch.rand(BATCH)
        strength[::3] = 1
        begun = photo.clone()
        begun[1::3] = taught[1::3]
        start = torch.lerp(begun, torch.randn_like(photo), strength.view(-1, 1, 1, 1))
        latent = paint(model, start, strength, (condition, level, style), steps)
        values = {"start": start, "strength": strength, "latent": latent, "taught": taught}
        for key, value in (values | {"condition": condition, "level": level, "style": style}).items():
            rows.setdefault(key, []).append(value.half())
        if done % 480 == 0:
            print(f"couples {done}/{count}", flush=True)
    return {key: torch.cat(parts) for key, parts in rows.items()}


def couples(
    path: Path,
    painter: FlowUNet,
    encoder: Encoder,
    crops: np.ndarray,
    pairs: dict,
    bank: np.ndarray,
    count: int = COUPLES,
    steps: int = STEPS,
) -> dict[str, Tensor]:
    """Those of the cache at `path`, or `count` new ones."""
    if not path.exists():
        torch.manual_seed(3)
        rng = np.random.default_rng(3)
        data = Pairs(encoder, crops, pairs, bank)
        data.encode(rng)
        torch.save(couple(painter, data, count, steps, rng), path)
    return torch.load(path, weights_only=True)


def train(folder: Path, painter: FlowUNet, decoder: Decoder, coupled: dict[str, Tensor], minutes: float) -> FlowUNet:
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    model = copy.deepcopy(painter).train().requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run(folder, "reflow", model, optimiser, minutes)
    sums = torch.zeros(2)
    while run.progress < 1:
        run.set_learning_rate(RATE)
        chosen = torch.from_numpy(rng.integers(len(coupled["start"]), size=BATCH))
        rows = {key: value[chosen].float() for key, value in coupled.items()}
        t = at_random_times(rows["strength"])
        x, velocity = straight(model, rows, t)
        loss = F.mse_loss(velocity, slope(rows))
        texture = _texture(decoder, x - t.view(-1, 1, 1, 1) * velocity, rows["taught"], rng)
        optimiser.zero_grad(set_to_none=True)
        (loss + TEXTURE * texture).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.update(0.998)
        sums += torch.tensor([loss.item(), texture.item()])
        if run.step % 100 == 0:
            run.record(straight=round(sums[0].item() / 100, 5), texture=round(sums[1].item() / 100, 5))
            sums.zero_()
    return run.average


def at_random_times(strength: Tensor) -> Tensor:
    """Half of the times at the start, where a single step begins, the others anywhere before the picture."""
    part = torch.where(torch.rand(len(strength)) < 0.5, torch.ones(len(strength)), torch.rand(len(strength)))
    return part * strength


def straight(model: Velocity, rows: dict[str, Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """The point at noise level t, (B,), of each straight line, and the network's velocity there."""
    x = torch.lerp(rows["latent"], rows["start"], (t / rows["strength"]).view(-1, 1, 1, 1))
    with mixed():
        velocity = model(x, t, rows["condition"], rows["level"], rows["style"])
    return x, velocity.float()


def slope(rows: dict[str, Tensor]) -> Tensor:
    """Velocity of the straight line from picture to start."""
    return (rows["start"] - rows["latent"]) / rows["strength"].view(-1, 1, 1, 1)


def _texture(decoder: Decoder, latent: Tensor, taught: Tensor, rng: np.random.Generator) -> Tensor:
    top, left = rng.integers(0, SIDE - SHOWN + 1, size=2)
    window = (slice(None, None, 3), slice(None), slice(top, top + SHOWN), slice(left, left + SHOWN))
    with mixed():
        output = decoder(latent[window])
        with torch.no_grad():
            target = decoder(taught[window])
    return texture_loss(output.float(), target.float())
