"""Does the painted texture stay with the picture? Warped noise against fixed and independent noise.

    python -m scripts.bench_coherence [--json] [--quick] [--strip docs/coherence.png]

`screen grid` is ours without the latent grid that follows the scene, `block mean` the paper's readout besides.
Camera pans with a known shift over held-out photographs, and held-out clips (fetched from PyPI and
Debian when they are not there) aligned by estimated flow. For each pair of frames k-L and k the older
output is moved onto the newer one and compared where both show the scene: E = mean |O_k - warp(O_{k-L})|.
The tables print E over that of fixed noise, measured in the same run, and sharpness over the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from driftcam import Engine
from scripts.bench_look import LOOK
from scripts.training import data

SIDE = 256
LAGS = (1, 8, 16)
FRAMES = 26
SPEEDS = (1, 2, 3, 5, 8)
STEPS = (1, 2, 4)
STYLES = ("starry-night", "stained-glass", "meadow")
BUILD = Path("build/embedded/raw")
FACE = Path(__file__).parents[1] / "tests" / "data" / "astronaut.jpg"
# Name, noise mode, readout, whether the latent grid follows the scene.
NOISES = (
    ("ours", "warped", "band_limited", True),
    ("screen grid", "warped", "band_limited", False),
    ("block mean", "warped", "block_mean", False),
    ("fixed", "fixed", "band_limited", False),
    ("independent", "independent", "band_limited", False),
)
# Clips with the first frames of windows, none of which spans a cut: all scenes of a camera in traffic, mostly handheld,
# and a camera that stands still.
CLIPS = {"bikes.mp4": (3, 32, 78, 104, 138, 161, 188, 214), "vtest.avi": (60,)}

Align = Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]
"""align(old output, old index, new index) -> (output moved onto the new frame, mask of what both show)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="2 steps, one photograph, one style")
    parser.add_argument("--strip", type=Path, help="write a picture of a pan: frames in rows of ours and fixed noise")
    options = parser.parse_args()
    data.fetch(BUILD)
    steps, photos, styles = ((2,), 1, 1) if options.quick else (STEPS, 3, len(STYLES))
    pictures = held_out_photos(photos)
    result = {
        "pans": [told(pan_row(n, speed, pictures, styles)) for n in steps for speed in SPEEDS],
        "clips": [told(clip_row(n, name, styles)) for n in steps for name in CLIPS],
    }
    if options.strip:
        cv2.imwrite(str(options.strip), strip()[..., ::-1])
    print(json.dumps(result, indent=1) if options.json else tables(result))


def told(row: dict) -> dict:
    """The row, of which the terminal is told: all of them take a quarter of an hour."""
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def held_out_photos(count: int) -> list[np.ndarray]:
    """Photographs that no training step saw, wide enough for the fastest pan."""
    photos = [image for name, image, _ in data.pictures(BUILD) if data.is_held_out(name) and image.shape[1] >= 500]
    span = SIDE + SPEEDS[-1] * FRAMES
    return [cv2.resize(p, (round(p.shape[1] * 300 / p.shape[0]), 300), interpolation=cv2.INTER_AREA) for p in photos
            if p.shape[1] * 300 / p.shape[0] >= span][:count]  # fmt: skip


def pan_row(steps: int, speed: int, photos: list[np.ndarray], styles: int) -> dict:
    """Errors and sharpness of a pan of `speed` px a frame, relative to fixed noise, by lag."""
    total: dict[str, np.ndarray] = {}
    for photo, style in zip(photos, STYLES[:styles] * len(photos), strict=False):
        frames = [np.ascontiguousarray(photo[20 : 20 + SIDE, speed * k : speed * k + SIDE]) for k in range(FRAMES)]

        def align(old: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
            shift = speed * (after - before)
            moved, mask = np.zeros_like(old), np.zeros(old.shape[:2], bool)
            moved[:, : SIDE - shift] = old[:, shift:]
            mask[16:-16, 16 : SIDE - shift - 16] = True
            return moved, mask

        for name, values in measure(frames, style, steps, align).items():
            total[name] = total.get(name, 0) + values
    return {"steps": steps, "speed": speed, **relative(total)}


def clip_row(steps: int, name: str, styles: int) -> dict:
    """The same on a held-out clip, aligned by its optical flow."""
    total: dict[str, np.ndarray] = {}
    for start in CLIPS[name]:
        frames = [cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in read(name, start)]
        flows: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

        def align(
            old: np.ndarray, before: int, after: int, frames: list = frames, flows: dict = flows
        ) -> tuple[np.ndarray, np.ndarray]:
            if (before, after) not in flows:
                flows[before, after] = backward_map(frames, before, after)
            where, mask = flows[before, after]
            return look_up(old, where), mask

        for style in STYLES[:styles]:
            for key, values in measure(frames, style, steps, align).items():
                total[key] = total.get(key, 0) + values
    return {"steps": steps, "clip": name, **relative(total)}


def read(name: str, start: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(next(BUILD.glob(f"**/{name}"))))
    capture.set(cv2.CAP_PROP_POS_FRAMES, start)
    return [capture.read()[1][..., ::-1] for _ in range(FRAMES)]


def backward_map(frames: list[np.ndarray], before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of frame `after` lies in frame `before`, and where that can be trusted.

    Steps of one frame are chained; a pixel counts while its colour stays what it was.
    """
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    where = np.dstack([columns, rows])
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = [cv2.cvtColor(frames[k], cv2.COLOR_RGB2GRAY) for k in range(before, after + 1)]
    for now, previous in zip(greys[:0:-1], greys[-2::-1], strict=True):
        flow = dis.calc(now, previous, np.zeros((SIDE, SIDE, 2), np.float32))
        where = where + look_up(flow, where)
    seen = look_up(frames[before], where)
    mask = np.abs(seen.astype(int) - frames[after]).max(2) < 24
    inside = (where > 8).all(2) & (where < SIDE - 8).all(2)
    return where, mask & inside


def look_up(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The image at the places (H, W, 2) in pixels, x first."""
    x, y = (np.ascontiguousarray(where[..., axis]) for axis in (0, 1))
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def measure(frames: list[np.ndarray], style: str, steps: int, align: Align) -> dict[str, np.ndarray]:
    """For each noise: E at each lag, then sharpness."""
    result = {}
    for name, mode, readout, anchored in NOISES:
        outputs = paint(frames, style, steps, mode, readout, anchored)
        errors = [np.mean([error(outputs, k - lag, k, align) for k in range(lag, len(frames))]) for lag in LAGS]
        result[name] = np.array([*errors, np.mean([sharpness(o) for o in outputs])])
    return result


def paint(
    frames: list[np.ndarray], style: str, steps: int, mode: str, readout: str, anchored: bool
) -> list[np.ndarray]:
    parameters = LOOK.replace(styles=((style, 1.0),), steps=steps, noise=mode, width=SIDE, height=SIDE)
    engine = Engine(parameters, readout=readout, anchored=anchored)
    return [engine.step(frame) for frame in frames]


def error(outputs: list[np.ndarray], before: int, after: int, align: Align) -> float:
    moved, mask = align(outputs[before], before, after)
    return float(np.abs(moved.astype(np.float32) - outputs[after])[mask].mean())


def sharpness(image: np.ndarray) -> float:
    """Mean absolute gradient of the luma."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


def relative(total: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Everything over fixed noise; `against_independent` is ours over independent noise."""
    names = [f"lag {lag}" for lag in LAGS] + ["sharpness"]
    ratios = {
        name: {key: round(float(v), 3) for key, v in zip(names, values / total["fixed"], strict=True)}
        for name, values in total.items()
        if name != "fixed"
    }
    against = total["ours"] / total["independent"]
    ratios["against_independent"] = {key: round(float(v), 3) for key, v in zip(names, against, strict=True)}
    return ratios


def strip() -> np.ndarray:
    """Every fourth frame of a 3 px pan, moved back onto the first: ours above, fixed noise below."""
    photo = held_out_photos(1)[0]
    frames = [np.ascontiguousarray(photo[20 : 20 + SIDE, 3 * k : 3 * k + SIDE]) for k in range(FRAMES)]
    rows = []
    for name, mode, readout, anchored in (NOISES[0], NOISES[3]):
        outputs = paint(frames, "starry-night", 2, mode, readout, anchored)
        tiles = [np.ascontiguousarray(outputs[k][:, 96 - 3 * k : 256 - 3 * k]) for k in range(0, 26, 5)]
        cv2.putText(tiles[0], name, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def tables(result: dict) -> str:
    shown = ("ours", "screen grid", "block mean")
    head = [f"{name} lag {lag}" for name in shown for lag in LAGS]
    head += [f"÷ independent lag {lag}" for lag in LAGS] + ["sharpness"]
    lines = []
    for group, label in (("pans", "px/frame"), ("clips", "clip")):
        lines += ["", f"| steps | {label} | " + " | ".join(head) + " |", "|---" * (len(head) + 2) + "|"]
        for row in result[group]:
            values = [row[name][f"lag {lag}"] for name in (*shown, "against_independent") for lag in LAGS]
            values.append(row["ours"]["sharpness"])
            what = row.get("speed", row.get("clip"))
            lines.append(f"| {row['steps']} | {what} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    main()
