"""Does the memory keep strokes on what they are painted on, and does it let go?

    python -m scripts.bench_memory [--json] [--quick] [--look bench|default] [--parts bikes,slow,still,…]

- `bikes`, `slow`, `still`: change of the painting at lags of 1, 8 and 16 frames, aligned by optical flow as in
  `scripts.bench_coherence`, over that with fixed noise; sharpness (of all frames, of the last four) and edge fidelity
  (correlation of its gradients with the photograph's) over those without memory.
- `long_run`: a clip there and back for 3,000 frames (300 with --quick): tone and sharpness of the last 100 over those
  of the first 100, which show the same photographs; `style` is 1 less the distance of their style vectors over that
  between painting and photograph. Without memory beside it: carried noise wanders, too.
- `ghosting`: a thing crosses a still picture. Where it was 3 frames ago: difference from the memoryless painting
  over that of two memoryless ones of different seeds; the same of their tones (low-pass).
- `responses`: frames after a light is switched on, a mouth opens, a cut, until edge fidelity is within 5 % of that of
  the memoryless painting.
- `anchors`: ten scenes held to the look of one of them, over without: variance across the scenes of the palette (mean
  and deviation of Lab), of the strokes (log of the energy of four octaves of lightness) and of their size (the same
  less its mean); edge fidelity. Each of four scenes is the anchor in turn. `cost` as below.
- `cost`: time of a frame with memory over that without, in turn, at 1 step. On a quiet machine.

Clips are fetched from PyPI and Debian; no training step saw them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, cycle, islice
from typing import Any

import cv2
import numpy as np

from driftcam import Engine, Parameters
from driftcam.engines.api.anchors import anchor_of
from driftcam.engines.models.embedded.model import EmbeddedSource
from scripts import bench_coherence as coherence
from scripts.bench_look import LOOK
from scripts.training import data

SIDE, LAGS, STYLES = coherence.SIDE, coherence.LAGS, coherence.STYLES
MEMORY = Parameters().memory
LOOKS = {"bench": [LOOK.replace(styles=((style, 1.0),)) for style in STYLES], "default": [Parameters(memory=0.0)]}
# Clip and first frame of windows without a cut.
SCENES = {
    "bikes": [("bikes.mp4", start) for start in coherence.CLIPS["bikes.mp4"]],
    "slow": [("bigbuckbunny.mp4", 30), ("Megamind.avi", 20), ("Megamind.avi", 205)],
    "still": [("vtest.avi", 60), ("bikes.mp4", 3)],
}
RECOVERED = 0.95
# With a face: two of traffic, a wall, a meadow, a dim restaurant, a dark head, a park, a street, a castle.
MANY_SCENES = [("bikes.mp4", 78), ("bikes.mp4", 104), ("bikes.mp4", 3), ("bigbuckbunny.mp4", 30), ("Megamind.avi", 20)]
MANY_SCENES += [("Megamind.avi", 205), ("vtest.avi", 60), ("bikes.mp4", 170), ("tree.avi", 5)]

Frames = list[np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one style, few scenes, a short run: within a minute")
    parser.add_argument("--look", choices=LOOKS, default="bench", help="of the other benchmarks, or the defaults")
    parser.add_argument("--parts", help="only these, separated by commas")
    options = parser.parse_args()
    data.fetch(coherence.BUILD)
    looks = LOOKS[options.look][:1] if options.quick else LOOKS[options.look]
    scenes = {name: windows[1:2] if options.quick else windows for name, windows in SCENES.items()}
    parts: dict[str, Callable[[], dict]] = {name: partial(change, windows, looks) for name, windows in scenes.items()}
    parts["long_run"] = lambda: long_run(looks[0], 300 if options.quick else 3000)
    parts["ghosting"] = lambda: ghosting(looks)
    parts["responses"] = lambda: responses(looks[0])
    parts["anchors"] = lambda: held(looks, 10 if options.quick else 60)
    parts["cost"] = lambda: {str(side): cost(side, 10 if options.quick else 60, *WITH) for side in (384, 512)}
    result: dict[str, Any] = {}
    for name in options.parts.split(",") if options.parts else parts:
        result[name] = parts[name]()
        print(name, json.dumps(result[name]), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1) if options.json else table(result))


def paint(frames: Sequence[np.ndarray], look: Parameters, *, anchored: bool = True, **changes: Any) -> Frames:
    height, width = frames[0].shape[:2]
    engine = Engine(look.replace(width=width, height=height, **changes), anchored=anchored)
    return [engine.step(frame) for frame in frames]


def window(clip: str, start: int) -> Frames:
    resized = (cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in coherence.read(clip, start))
    return [np.ascontiguousarray(frame) for frame in resized]


def rounded(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: round(float(value), 3) for name, value in values.items()}


# -- change, sharpness, fidelity ----------------------------------------------------------------


def change(windows: list[tuple[str, int]], looks: list[Parameters]) -> dict[str, float]:
    totals = {name: np.zeros(len(LAGS) + 3) for name in ("fixed", "memoryless", "memory")}
    for clip, start in windows:
        frames = window(clip, start)
        flows = {
            (k - lag, k): coherence.backward_map(frames, k - lag, k) for lag in LAGS for k in range(lag, len(frames))
        }
        for look in looks:
            totals["fixed"] += judged(frames, paint(frames, look, noise="fixed", anchored=False), flows)
            totals["memoryless"] += judged(frames, paint(frames, look), flows)
            totals["memory"] += judged(frames, paint(frames, look, memory=MEMORY), flows)
    lags = {f"lag{lag}": totals["memory"][i] / totals["fixed"][i] for i, lag in enumerate(LAGS)}
    lags |= {f"memoryless_lag{lag}": totals["memoryless"][i] / totals["fixed"][i] for i, lag in enumerate(LAGS)}
    kept = totals["memory"][len(LAGS) :] / totals["memoryless"][len(LAGS) :]
    return rounded(lags | dict(zip(("sharpness", "sharpness_last", "fidelity"), kept, strict=True)))


def judged(frames: Frames, outputs: Frames, flows: dict) -> np.ndarray:
    """Change at each lag, sharpness of all and of the last four, edge fidelity."""

    def align(old: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
        where, mask = flows[before, after]
        return coherence.look_up(old, where), mask

    errors = [np.mean([coherence.error(outputs, k - lag, k, align) for k in range(lag, len(frames))]) for lag in LAGS]
    sharp = [coherence.sharpness(output) for output in outputs]
    edges = np.mean([fidelity(output, frame) for output, frame in zip(outputs, frames, strict=True)])
    return np.array([*errors, np.mean(sharp), np.mean(sharp[-4:]), edges])


def fidelity(output: np.ndarray, photo: np.ndarray) -> float:
    """Correlation of the lengths of the gradients of two (H, W, 3) pictures."""

    def gradients(image: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)).ravel()

    return float(np.corrcoef(gradients(output), gradients(photo))[0, 1])


# -- a long run ---------------------------------------------------------------------------------


def long_run(look: Parameters, count: int) -> dict[str, float]:
    there = window("bikes.mp4", 104)
    period = [*there, *there[-2:0:-1]]  # 50 frames, so that the first and the last hundred show the same photographs
    told = drift(period, look.replace(memory=MEMORY), count)
    without = drift(period, look, count)
    return rounded(told | {f"memoryless_{name}": value for name, value in without.items()})


def drift(period: Frames, look: Parameters, count: int) -> dict[str, float]:
    """Of the last hundred frames over the first."""
    engine = Engine(look.replace(width=SIDE, height=SIDE))
    first, last = [], []
    for k, frame in enumerate(islice(cycle(period), count)):
        output = engine.step(frame)
        if k < 100:
            first.append(output)
        if k >= count - 100:
            last.append(output)
    vector = EmbeddedSource().style_vector
    styles = [np.mean([vector(o) for o in outputs[::10]], 0) for outputs in (first, last, period)]
    apart = np.linalg.norm(styles[0] - styles[1]) / np.linalg.norm(styles[0] - styles[2])
    sharp = [np.mean([coherence.sharpness(o) for o in outputs]) for outputs in (first, last)]
    tone = [np.mean(outputs) for outputs in (first, last)]
    return {"tone": float(tone[1] / tone[0]), "sharpness": float(sharp[1] / sharp[0]), "style": float(1 - apart)}


# -- letting go ---------------------------------------------------------------------------------


def ghosting(looks: list[Parameters]) -> dict[str, float]:
    scene, thing = window("bikes.mp4", 104)[0], window("bigbuckbunny.mp4", 60)[0][96:160, 96:160]
    frames, speed = [], 6
    for k in range(26):
        frame = scene.copy()
        frame[96:160, 16 + speed * k : 80 + speed * k] = thing
        frames.append(frame)
    ratios: list[list[float]] = []
    for look in looks:
        memory, without = paint(frames, look, memory=MEMORY), paint(frames, look)
        other = paint(frames, look.replace(seed=1))
        pairs: list[tuple[float, float, float, float]] = []
        for k in range(8, 26):  # where the thing was 3 frames ago and is not any more
            uncovered = slice(96, 160), slice(16 + speed * (k - 3), 16 + speed * (k - 2))
            pictures = [outputs[k][uncovered].astype(np.float32) for outputs in (memory, without, other)]
            tones = [cv2.GaussianBlur(o[k], (0, 0), 4).astype(np.float32)[uncovered] for o in (memory, without, other)]
            pairs.append((*apart(pictures), *apart(tones)))
        sums = np.sum(pairs, 0)
        ratios.append([sums[0] / sums[1], sums[2] / sums[3]])
    picture, tone = np.mean(ratios, 0)
    return rounded({"picture": picture, "tone": tone})


def apart(pictures: list[np.ndarray]) -> tuple[float, float]:
    """Mean differences of the first and the third picture from the second."""
    first, second, third = pictures
    return float(np.abs(first - second).mean()), float(np.abs(third - second).mean())


def responses(look: Parameters) -> dict[str, int]:
    closed = face()
    dark, opened = (0.35 * closed).astype(np.uint8), closed.copy()
    cv2.ellipse(opened, (MOUTH[0], MOUTH[1]), (9, 7), 0, 0, 360, (40, 10, 15), -1, cv2.LINE_AA)
    other = window("bikes.mp4", 104)[0]
    around = slice(MOUTH[1] - 14, MOUTH[1] + 14), slice(MOUTH[0] - 16, MOUTH[0] + 16)
    everything = slice(None), slice(None)
    return {
        "light": frames_until_true(dark, closed, look, everything),
        "mouth": frames_until_true(closed, opened, look, around),
        "cut": frames_until_true(other, closed, look, everything),
    }


def face() -> np.ndarray:
    picture = np.ascontiguousarray(np.asarray(cv2.imread(str(coherence.FACE)))[:400, 60:460, ::-1])
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


MOUTH = (106, 92)  # x and y in the face's picture


def frames_until_true(before: np.ndarray, after: np.ndarray, look: Parameters, where: tuple[slice, slice]) -> int:
    """Frames after the change until the edges are as true as without memory, and stay so."""
    frames = [*[before] * 20, *[after] * 20]
    memory, without = paint(frames, look, memory=MEMORY), paint(frames, look)
    fell_short = [
        k - 20 + 1
        for k in range(20, 40)
        if fidelity(memory[k][where], after[where]) < RECOVERED * fidelity(without[k][where], after[where])
    ]
    return max(fell_short, default=0)


# -- kept looks ---------------------------------------------------------------------------------


def held(looks: list[Parameters], count: int) -> dict[str, float]:
    scenes = [window(clip, start)[0] for clip, start in MANY_SCENES] + [face()]
    totals = np.zeros((2, 4))
    for look in looks:
        without = [paint([scene], look)[0] for scene in scenes]
        for anchor in without[::3]:
            kept: dict[str, Any] = {"anchors": (anchor_of(anchor),)}
            totals += [varied(without, scenes), varied([paint([s], look, **kept)[0] for s in scenes], scenes)]
    names = ("palette", "strokes", "stroke_size", "fidelity")
    anchors = {"anchors": tuple(anchor_of(scene) for scene in scenes[:2])}
    costs = {f"cost_{side}": cost(side, count, {}, anchors) for side in (384, 512)}
    return rounded(dict(zip(names, totals[1] / totals[0], strict=True)) | costs)


def varied(outputs: Frames, scenes: Frames) -> list[float]:
    """Variance of palette, strokes and their size; mean edge fidelity."""
    palettes, strokes = [], []
    for output in outputs:
        lab = cv2.cvtColor(output.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        palettes.append([*lab.mean((0, 1)), *lab.std((0, 1))])
        blurred = [lab[..., 0], *(cv2.GaussianBlur(lab[..., 0], (0, 0), size) for size in (1, 2, 4, 8))]
        strokes.append([np.log(np.mean((a - b) ** 2)) for a, b in itertools.pairwise(blurred)])
    sizes = np.array(strokes) - np.mean(strokes, 1, keepdims=True)
    edges = np.mean([fidelity(output, scene) for output, scene in zip(outputs, scenes, strict=True)])
    return [*(float(np.var(values, 0).sum()) for values in (palettes, strokes, sizes)), float(edges)]


# -- cost ---------------------------------------------------------------------------------------


WITH = {"memory": 0.0}, {"memory": MEMORY}


def cost(side: int, count: int, without: dict[str, Any], changes: dict[str, Any]) -> float:
    """Median time of a frame with `changes` over that with those of `without`."""
    frames = [cv2.resize(frame, (side, side)) for frame in window("bikes.mp4", 78)]
    engines = [Engine(Parameters(width=side, height=side, **each)) for each in (without, changes)]
    times: list[list[float]] = [[], []]
    for k, frame in enumerate(islice(cycle(chain(frames, frames[::-1])), count + 5)):
        for engine, spent in zip(engines, times, strict=True):
            started = time.perf_counter()
            engine.process(frame)
            if k >= 5:
                spent.append(time.perf_counter() - started)
    return round(float(np.median(times[1]) / np.median(times[0])), 3)


def table(result: dict[str, Any]) -> str:
    lines = []
    for name, values in result.items():
        lines += ["", f"| {name} | " + " | ".join(values) + " |", "|---" * (len(values) + 1) + "|"]
        lines.append("| | " + " | ".join(f"{value:g}" for value in values.values()) + " |")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    main()
