"""What it costs a picture that guidance `initialize` asks the network for no style on every third frame only.

    python -m scripts.bench_guidance [--json] [--scale 1.5]

For scenes of a held-out clip, asked on every frame, every second, third and fourth: change between aligned frames
(grey levels at a lag of 1 and 8 frames, as in `scripts.bench_coherence_parts`), and the distance to asking on every
frame as a share of what guidance changes at all (root mean squares). What it saves is in `scripts.bench_engine`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

import numpy as np

from driftcam.engines import engine
from scripts import bench_coherence as coherence
from scripts.bench_coherence_parts import Flows, change, paint, scene
from scripts.training import data

CLIP, STARTS, LAGS, EVERY, STEPS = "bikes.mp4", (32, 104, 188, 214), (1, 8), (1, 2, 3, 4), 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scale", type=float, default=1.5)
    options = parser.parse_args()
    data.fetch(coherence.BUILD)
    rows = [row(start, options.scale) for start in STARTS]
    print(json.dumps(rows, indent=1) if options.json else table(rows))


def row(start: int, scale: float) -> dict:
    frames, flows = scene(CLIP, start)
    plain, painted = paint(frames, steps=STEPS), {every: guided(frames, scale, every) for every in EVERY}
    effect = distance(painted[1], plain)
    return {
        "start": start,
        "no guidance": steadiness(plain, flows),
        "every": {every: steadiness(outputs, flows) for every, outputs in painted.items()},
        "distance": {every: round(distance(outputs, painted[1]) / effect, 2) for every, outputs in painted.items()},
    }


def guided(frames: list[np.ndarray], scale: float, every: int) -> list[np.ndarray]:
    kept = engine.HELD_DIFFERENCE
    engine.HELD_DIFFERENCE = dataclasses.replace(kept, lasts=every - 1)
    try:
        return paint(frames, steps=STEPS, guidance="initialize", guidance_scale=scale)
    finally:
        engine.HELD_DIFFERENCE = kept


def steadiness(outputs: list[np.ndarray], flows: Flows) -> list[float]:
    return [change(outputs, flows, lag) for lag in LAGS]


def distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean((np.stack(a).astype(np.float32) - np.stack(b)) ** 2)))


def table(rows: list[dict]) -> str:
    lines = ["| scene | no guidance | " + " | ".join(f"every {k}, change | distance" for k in EVERY) + " |"]
    lines += ["|---" * (2 + 2 * len(EVERY)) + "|"]
    for r in rows:
        cells = (f"{r['every'][k][0]:.1f} / {r['every'][k][1]:.1f} | {r['distance'][k]:.2f}" for k in EVERY)
        lines.append(f"| {r['start']} | {r['no guidance'][0]:.1f} / {r['no guidance'][1]:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
