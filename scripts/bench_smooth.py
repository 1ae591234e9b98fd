"""How good are the pictures between two, and what do they cost?

    python -m scripts.bench_smooth [--json] [--sheet PICTURE]

`interpolation_db`: every second frame of a held-out clip is left out and made again at 512², from the frames themselves
along the motion that the engine tells of them. PSNR, mean over the frames; `repeated` and `blended`: how much more that
is than of the frame before, and of the mean of both. `interpolation_ms`: of a picture between at 512², two of them
between each two, as from 20 to 60 a second; `processor` is the time of all cores, which other work on the machine does
not lengthen as much. `interpolation_engine`: time of a frame in the engine over that without.

`--sheet` writes paintings with those made between them, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from driftcam import Engine, Parameters
from driftcam.daemon.smooth.between import Between
from driftcam.engines.api.fitting import fit_image
from driftcam.engines.api.planes import MOTION
from scripts import bench_coherence as coherence
from scripts.bench_memory import SCENES
from scripts.training import data

SIDE = 512
CLIPS = {
    "bikes.mp4": coherence.CLIPS["bikes.mp4"],
    "vtest.avi": (60, 300),
    "bigbuckbunny.mp4": (0, 30, 60, 100),
    "Megamind.avi": tuple(start for clip, start in SCENES["slow"] if clip == "Megamind.avi"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sheet", type=Path, metavar="PICTURE")
    options = parser.parse_args()
    if options.sheet is not None:
        data.fetch(coherence.BUILD)
        cv2.imwrite(str(options.sheet), sheet("bikes.mp4", 138)[..., ::-1])
        return
    result = measured()
    print(json.dumps(result, indent=2) if options.json else table(result))


def measured() -> dict[str, Any]:
    data.fetch(coherence.BUILD)
    return {
        "interpolation_db": {clip: quality(clip, starts) for clip, starts in CLIPS.items()},
        "interpolation_ms": cost(),
        "interpolation_engine": engine_cost(),
    }


def window(clip: str, start: int) -> list[np.ndarray]:
    frames = coherence.read(clip, start)
    return [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames]


def moved(frames: list[np.ndarray], **changes: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Of each frame its painting, and the motion from the one before."""
    engine = Engine(Parameters(width=SIDE, height=SIDE, smooth="60", **changes))
    for number, frame in enumerate(frames):
        (result,) = engine.process(frame, number)
        yield result.image.copy(), result.planes.get(MOTION)


def quality(clip: str, starts: tuple[int, ...]) -> dict[str, float]:
    found, between = [], Between()
    for start in starts:
        frames = window(clip, start)
        motions = [motion for _, motion in moved(frames[::2])]
        for number, motion in enumerate(motions[1:]):
            before, truth, after = frames[2 * number : 2 * number + 3]
            made = before
            if motion is not None:
                between.use(before, after, motion)
                made = between.at(0.5)
            guesses = made, before, cv2.addWeighted(before, 0.5, after, 0.5, 0)
            found.append([cv2.PSNR(guess, truth) for guess in guesses])
    made, repeated, blended = np.mean(found, 0)
    return {name: round(float(value), 2) for name, value in
            (("psnr", made), ("repeated", made - repeated), ("blended", made - blended))}  # fmt: skip


def cost() -> dict[str, float]:
    """Milliseconds, over the pictures of a window."""
    spent, busy, between = [], [], Between()
    frames = window("bikes.mp4", 104)
    pictures = list(moved(frames))
    for (before, _), (after, motion) in pairwise(pictures):
        if motion is None:
            continue
        started, worked = time.perf_counter(), time.process_time()
        between.use(before, after, motion)
        for share in (1 / 3, 2 / 3):
            between.at(share)
        spent.append(1000 * (time.perf_counter() - started) / 2)
        busy.append(1000 * (time.process_time() - worked) / 2)
    p50, p95 = np.percentile(spent[2:], [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "processor": round(float(np.median(busy)), 2)}


def engine_cost() -> float:
    """Two engines take turns."""
    engines = [Engine(Parameters(width=SIDE, height=SIDE, smooth=smooth)) for smooth in ("off", "60")]
    times: list[list[float]] = [[], []]
    for frame in window("bikes.mp4", 104) * 2:
        for engine, spent in zip(engines, times, strict=True):
            started = time.perf_counter()
            engine.process(frame)
            spent.append(time.perf_counter() - started)
    return round(float(np.median(times[1][5:]) / np.median(times[0][5:])), 3)


def sheet(clip: str, start: int) -> np.ndarray:
    """A row for each of four paintings: itself, and two made between it and the next."""
    frames = [np.ascontiguousarray(fit_image(frame, SIDE, SIDE)) for frame in coherence.read(clip, start)]
    pictures, between, rows = list(moved(frames))[8:13], Between(), []
    for (before, _), (after, motion) in pairwise(pictures):
        made = [before, before]
        if motion is not None:
            between.use(before, after, motion)
            made = [between.at(share) for share in (1 / 3, 2 / 3)]
        rows.append(np.hstack([before, *made]))
    return np.vstack(rows)


def table(result: dict[str, Any]) -> str:
    lines = ["| clip | PSNR, dB | over repetition | over blending |", "|---|---|---|---|"]
    for clip, found in result["interpolation_db"].items():
        lines.append(f"| {clip} | {found['psnr']:.1f} | {found['repeated']:+.1f} | {found['blended']:+.1f} |")
    spent = result["interpolation_ms"]
    lines.append(
        f"\n{spent['p50']} ms a picture at {SIDE}² (p95 {spent['p95']}, of the processor {spent['processor']})"
    )
    return "\n".join([*lines, f"a frame in the engine: × {result['interpolation_engine']}"])


if __name__ == "__main__":
    main()
