"""Which part makes a painted clip change: the photographs, the autoencoder, the noise and its flow, or the network?

    python -m scripts.bench_coherence_parts [--json] [--clip bikes.mp4]

For each scene of a held-out clip, frames aligned by their optical flow as in `scripts.bench_coherence`:
- change, in grey levels at a lag of 1 and 8 frames, of the photographs, of their reconstruction (strength 0), and of
  the paintings with fixed and with our noise;
- correlation ρ of the latent noise with that of 1 and 8 frames ago at the place that the alignment names: fixed, ours,
  ours on a flow that costs eight times as much, and noise carried along the very flow that aligns the frames.

Below, the least change that such noise allows any network (`scripts.bench_noise_response`): the mean of √(1−ρ) over the
scenes, against fixed noise's.
"""

from __future__ import annotations

import argparse
import json

import cv2
import numpy as np

from driftcam import Engine
from driftcam.engines.image.luma import WorkingLuma, working_size
from driftcam.engines.image.shift import Shift
from driftcam.engines.motion.anchor import Anchor
from driftcam.engines.motion.flow import DisFlow, FlowEstimator, Motion
from driftcam.engines.motion.stage import FrameMotion, MotionStage
from driftcam.engines.noise.temporal import TemporalNoise
from scripts import bench_coherence as coherence
from scripts.bench_look import LOOK
from scripts.training import data

SIDE, LAGS, STEPS, STYLE = coherence.SIDE, (1, 8), 2, "starry-night"
CELL = 8
CELLS = SIDE // CELL
Flows = dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
Offsets = list[tuple[float, float]]


class SlowFlow:
    """DIS at its medium preset."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def estimate(self, previous: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        still = np.zeros((*previous.shape, 2), np.float32)
        return self._dis.calc(previous, current, still.copy()), self._dis.calc(current, previous, still)

    def reset(self) -> None:
        """Nothing is remembered."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clip", default="bikes.mp4", choices=coherence.CLIPS)
    options = parser.parse_args()
    data.fetch(coherence.BUILD)
    rows = [scene_row(options.clip, start) for start in coherence.CLIPS[options.clip]]
    print(json.dumps(rows, indent=1) if options.json else table(rows))


def scene_row(clip: str, start: int) -> dict:
    frames, flows = scene(clip, start)
    painted = {
        "photographs": frames,
        "reconstruction": paint(frames, strength=0.0),
        "fixed": paint(frames, noise="fixed"),
        "ours": paint(frames),
    }
    still = [np.random.default_rng(0).standard_normal((20, CELLS, CELLS)).astype(np.float32)] * len(frames)
    noises = {
        "fixed": (still, [(0.0, 0.0)] * len(frames)),
        "ours": carried(frames, DisFlow()),
        "slow flow": carried(frames, SlowFlow()),
        "aligning flow": (carried_as_aligned(frames, flows), [(0.0, 0.0)] * len(frames)),
    }
    return {
        "start": start,
        "change": {name: [change(outputs, flows, lag) for lag in LAGS] for name, outputs in painted.items()},
        "correlation": {
            name: [correlation(noise, offsets, flows, lag) for lag in LAGS] for name, (noise, offsets) in noises.items()
        },
    }


def scene(clip: str, start: int) -> tuple[list[np.ndarray], Flows]:
    """The frames, and where the pixels of later ones lie in earlier ones."""
    frames = [
        np.ascontiguousarray(cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        for f in coherence.read(clip, start)
    ]
    flows = {(k - lag, k): coherence.backward_map(frames, k - lag, k) for lag in LAGS for k in range(lag, len(frames))}
    return frames, flows


def paint(frames: list[np.ndarray], **parameters: object) -> list[np.ndarray]:
    engine = Engine(LOOK.replace(styles=((STYLE, 1.0),), steps=STEPS, width=SIDE, height=SIDE).replace(**parameters))
    return [engine.step(frame) for frame in frames]


def change(outputs: list[np.ndarray], flows: Flows, lag: int) -> float:
    def align(old: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
        where, mask = flows[before, after]
        return coherence.look_up(old, where), mask

    errors = [coherence.error(outputs, k - lag, k, align) for k in range(lag, len(outputs))]
    return round(float(np.mean(errors)), 2)


def carried(frames: list[np.ndarray], flow: FlowEstimator) -> tuple[list[np.ndarray], Offsets]:
    """The latent noise (20, h, w) of each frame, and where the frame was put in its canvas."""
    height, width = working_size(SIDE, SIDE)
    anchor, shift, convert = Anchor(CELL), Shift(), WorkingLuma().convert
    stage, noise = MotionStage((CELLS, CELLS), flow=flow), TemporalNoise(CELLS, CELLS, 20, 1, seed=0)
    luma, placed = np.zeros((2, height, width), np.uint8)
    canvas = np.empty((SIDE, SIDE, 3), np.uint8)
    noises, offsets = [], []
    for frame in frames:
        anchor.follow(convert(frame, luma), SIDE / width)
        shift(frame, *anchor.offset, canvas)
        convert(canvas, placed)
        noises.append(noise.advance(stage.advance(placed, anchor.jump))[0].copy())
        offsets.append(anchor.offset)
    return noises, offsets


def carried_as_aligned(frames: list[np.ndarray], flows: Flows) -> list[np.ndarray]:
    """The latent noise of each frame on the flow that the frames are compared along, with nothing else."""
    noise, here = TemporalNoise(CELLS, CELLS, 20, 1, seed=0), np.indices((SIDE, SIDE))[::-1].transpose(1, 2, 0)
    noises = [noise.advance()[0].copy()]
    for k in range(1, len(frames)):
        there, _ = coherence.backward_map([frames[k], frames[k - 1]], 0, 1)
        forward, backward = ((where - here).astype(np.float32) for where in (there, flows[k - 1, k][0]))
        noises.append(
            noise.advance(FrameMotion(flow=Motion(forward, backward, np.ones((SIDE, SIDE), np.float32))))[0].copy()
        )
    return noises


def correlation(noises: list[np.ndarray], offsets: Offsets, flows: Flows, lag: int) -> float:
    rows, columns = np.mgrid[0:CELLS, 0:CELLS].astype(np.float32) * CELL + (CELL - 1) / 2
    found = []
    for k in range(lag, len(noises)):
        where, mask = flows[k - lag, k]
        here = np.dstack([columns - offsets[k][0], rows - offsets[k][1]]).astype(np.float32)
        seen = coherence.look_up(mask.astype(np.float32), here) > 0.99
        there = (coherence.look_up(where, here) + offsets[k - lag] - (CELL - 1) / 2) / CELL
        seen &= ((there > 1) & (there < CELLS - 2)).all(2)
        x, y = (np.ascontiguousarray(there[..., axis], np.float32) for axis in (0, 1))
        old = np.stack([cv2.remap(plane, x, y, cv2.INTER_LANCZOS4) for plane in noises[k - lag]])[:, seen]
        new = noises[k][:, seen]
        if old.size:
            found.append((old * new).sum() / np.sqrt((old * old).sum() * (new * new).sum()))
    return round(float(np.mean(found)), 3)


def table(rows: list[dict]) -> str:
    changes, noises = list(rows[0]["change"]), list(rows[0]["correlation"])
    head = ["scene", *(f"{name}, change" for name in changes), *(f"{name}, correlation" for name in noises)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        values = [*(row["change"][name] for name in changes), *(row["correlation"][name] for name in noises)]
        lines.append(f"| {row['start']} | " + " | ".join(f"{a:g} / {b:g}" for a, b in values) + " |")
    loss = {name: np.mean([np.sqrt(1 - np.array(row["correlation"][name])) for row in rows], axis=0) for name in noises}
    fixed = loss.pop("fixed")
    least = (f"{name} {a:.2f} / {b:.2f}" for name, value in loss.items() for a, b in [value / fixed])
    lines += ["", f"least change for any network ÷ fixed: {', '.join(least)}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
