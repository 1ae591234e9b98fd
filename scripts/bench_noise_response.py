"""How much does a painting change when its noise changes, and how little could it?

    python -m scripts.bench_noise_response [--json]

Two noises of correlation ρ paint the same frames of a held-out clip. Their difference (root mean square) is given as a
share of that between independent noises. No function of Gaussian noise has a smaller share than √(1−ρ), which a linear
one has: the part of degree k in its Hermite expansion keeps a correlation of ρᵏ (Mehler 1866). What the share has
beyond that is all that training the network for coherence could remove.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math

import cv2
import numpy as np
import torch
from torch import Tensor

from driftcam import Parameters
from driftcam.engines.conditions.freedom import degrade, hiding_level, hiding_noise
from driftcam.engines.conditions.style import style_input
from driftcam.engines.models.embedded.model import WEIGHTS, load_networks
from scripts import bench_coherence as coherence
from scripts.training import data
from scripts.training.autoencoder import to_pixels

CLIP, STARTS, SIDE = "bikes.mp4", (3, 32, 78, 138, 188), 256
STYLES, DRAWS = ("great-wave", "starry-night"), 4
CORRELATIONS = (0.5, 0.8, 0.9, 0.97, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data.fetch(coherence.BUILD)
    torch.manual_seed(0)
    rows = [row(freedom, steps) for freedom in (0.1, 0.3, 0.7) for steps in (1, 4)]
    print(json.dumps(rows, indent=1) if options.json else table(rows))


@torch.inference_mode()
def row(freedom: float, steps: int) -> dict:
    encoder, decoder, unet = load_networks(WEIGHTS)
    frames = [
        cv2.resize(coherence.read(CLIP, start)[0], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for start in STARTS
    ]
    photo = encoder(to_pixels(np.stack(frames)))
    level, times = float(hiding_level(freedom)), torch.linspace(1, 0, steps + 1).tolist()

    def paint(style: str, noise: Tensor) -> Tensor:
        condition, x = degrade(photo, hiding_noise(noise), level), noise
        styles = style_input(Parameters(styles=((style, 1.0),))).expand(len(x), -1)
        for now, following in itertools.pairwise(times):
            t, levels = torch.full((len(x),), now), torch.full((len(x),), level)
            x = x + (following - now) * unet(x, t, condition, levels, styles)
        return decoder(x) * 127.5

    def change(correlation: float) -> float:
        squares = []
        for style, _ in itertools.product(STYLES, range(DRAWS)):
            noise = torch.randn_like(photo)
            other = correlation * noise + math.sqrt(1 - correlation**2) * torch.randn_like(noise)
            squares.append((paint(style, noise) - paint(style, other)).square().mean().item())
        return math.sqrt(np.mean(squares))

    independent = change(0.0)
    shares = {str(c): round(change(c) / independent, 3) for c in CORRELATIONS}
    return {"freedom": freedom, "steps": steps, "independent": round(independent, 1), "shares": shares}


def table(rows: list[dict]) -> str:
    lines = [f"| freedom | steps | independent, grey levels | {' | '.join(f'ρ = {c}' for c in CORRELATIONS)} |"]
    lines += ["|---" * (3 + len(CORRELATIONS)) + "|"]
    lines += [f"| a linear function | | | {' | '.join(f'{math.sqrt(1 - c):.3f}' for c in CORRELATIONS)} |"]
    for r in rows:
        shares = " | ".join(f"{share:.3f}" for share in r["shares"].values())
        lines.append(f"| {r['freedom']} | {r['steps']} | {r['independent']:.1f} | {shares} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
