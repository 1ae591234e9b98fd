"""Time the warped noise: by grid size and channels, against the published algorithm, and part by part as a stream runs.

python -m scripts.bench_noise            a table for people
python -m scripts.bench_noise --json     the same numbers for programs
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from driftcam.engines.image.luma import WorkingLuma, working_size
from driftcam.engines.motion.stage import MotionStage
from driftcam.engines.noise import Readout, WarpedField
from driftcam.engines.noise.temporal import TemporalNoise
from scripts.bench_engine import measure
from scripts.bench_look import LOOK
from tests.engines import reference_warp

# (grid pixels a side, channels): the first is the default grid of a 384² picture, 48 × 48 cells of 4 × 4 points
GRIDS = ((192, 20), (192, 40), (288, 20), (384, 20), (64, 4), (256, 4), (512, 4))
REFERENCE_GRIDS = ((64, 4), (256, 4), (512, 4))
REFERENCE_FRAMES = 8


def flow_of(motion: str, side: int) -> np.ndarray:
    """(side, side, 2) float32 flow in grid pixels."""
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2).astype(np.float32)
    if motion == "pan":
        return np.full((side, side, 2), (1.3, 0.4), np.float32)
    return np.stack([x - 0.5 * y, y + 0.5 * x], -1) * np.float32(0.01)


def timed_in_turn(actions: Sequence[Callable[[], object]], repeats: int) -> list[dict[str, float]]:
    """Median wall and CPU milliseconds of each, and the least wall time, after one call to warm up."""
    wall: list[list[float]] = [[] for _ in actions]
    cpu: list[list[float]] = [[] for _ in actions]
    for turn in range(repeats + 1):
        for k, action in enumerate(actions):
            started, used = time.perf_counter(), time.process_time()
            action()
            if turn:
                wall[k].append(1e3 * (time.perf_counter() - started))
                cpu[k].append(1e3 * (time.process_time() - used))
    return [
        {"ms": statistics.median(w), "cpu_ms": statistics.median(c), "best_ms": min(w)}
        for w, c in zip(wall, cpu, strict=True)
    ]


def timed(action: Callable[[], object], repeats: int) -> dict[str, float]:
    """`timed_in_turn` of one."""
    return timed_in_turn([action], repeats)[0]


def bench_fields(repeats: int) -> list[dict[str, Any]]:
    """One step of a field and its readout at 4 points a cell."""
    rows = []
    for side, channels in GRIDS:
        field = WarpedField(side, side, channels, 0)
        cells = side // 4
        readout, out = (
            Readout("band_limited", 4, cells, cells, channels),
            np.empty((channels, cells, cells), np.float32),
        )
        for motion in ("pan", "swirl"):
            forward = flow_of(motion, side)
            backward = -forward
            warp = timed(lambda: field.step(forward, backward, None, 0.02), repeats)  # noqa: B023
            read = timed(lambda: readout.read(field.values, field.phase, out), repeats)  # noqa: B023
            rows.append({"side": side, "channels": channels, "motion": motion, "warp": warp, "readout": read})
    return rows


def bench_reference() -> list[dict[str, Any]]:
    """The same motion through the published algorithm, grouped by sorting, and through ours."""
    rows = []
    for side, channels in REFERENCE_GRIDS:
        forward, rng = flow_of("swirl", side), np.random.default_rng(0)
        field = WarpedField(side, side, channels, 0)
        state = reference_warp.start(field.values.reshape(side, side, channels))

        def published() -> None:
            nonlocal state
            state = reference_warp.warp(state, forward, rng)  # noqa: B023

        # Both from rest through the same few frames, as the work grows while residuals scatter, and in turn, as the
        # speed of a machine that is shared comes and goes.
        ours, slow = timed_in_turn((lambda: field.step(forward), published), REFERENCE_FRAMES)  # noqa: B023
        ratio = slow["cpu_ms"] / ours["cpu_ms"]
        rows.append({"side": side, "channels": channels, "reference": slow, "ours": ours, "ratio": ratio})
    return rows


def bench_stream(repeats: int) -> list[dict[str, Any]]:
    """The whole temporal path of a 384² picture, 20 latent channels, over a panning and trembling camera.

    The embedded model carries one field at any number of steps, a model that adds noise at every step one for each.
    """
    rng, rows = np.random.default_rng(0), []
    noise = rng.standard_normal((560, 560, 3)).astype(np.float32)
    scene = np.sum([cv2.GaussianBlur(noise, (0, 0), s) * s for s in (2, 6, 20)], axis=0)
    scene = np.clip((scene - scene.mean()) / scene.std() * 45 + 128, 0, 255).astype(np.uint8)
    offsets = [(80 + int(60 * np.sin(i / 20)), 80 + int(60 * np.cos(i / 13))) for i in range(repeats + 10)]
    luma = np.empty(working_size(384, 384), np.uint8)
    for fields in (1, 2, 4):
        stage, temporal = MotionStage((48, 48)), TemporalNoise(48, 48, 20, fields, 0)
        convert, parts = WorkingLuma(), []
        for y, x in offsets:
            frame = np.ascontiguousarray(scene[y : y + 384, x : x + 384])
            started, used = time.perf_counter(), time.process_time()
            convert.convert(frame, luma)
            shrunk = time.perf_counter()
            temporal.advance(stage.advance(luma))
            total, cpu = time.perf_counter() - started, time.process_time() - used
            part = {"luma": 1e3 * (shrunk - started), **stage.timings, **temporal.timings}
            part |= {"total": 1e3 * total, "cpu": 1e3 * cpu}
            parts.append(part)
        medians = {name: statistics.median(part[name] for part in parts[10:]) for name in parts[0]}
        rows.append({"fields": fields, **medians, "best": min(part["total"] for part in parts[10:])})
    return rows


def show(report: dict[str, Any]) -> None:
    """Print the tables in Markdown."""
    print(f"Warped noise on {report['machine']}, milliseconds (median wall / CPU / best wall)\n")
    print("| grid | channels | motion | warp | readout |\n|---|---|---|---|---|")
    for row in report["fields"]:
        cells = (
            " / ".join(f"{row[name][key]:.2f}" for key in ("ms", "cpu_ms", "best_ms")) for name in ("warp", "readout")
        )
        print(f"| {row['side']}² | {row['channels']} | {row['motion']} | {' | '.join(cells)} |")
    print("\n| grid | channels | published algorithm, sorted (CPU) | ours (CPU) | ratio |\n|---|---|---|---|---|")
    for row in report["reference"]:
        slow, ours = row["reference"]["cpu_ms"], row["ours"]["cpu_ms"]
        print(f"| {row['side']}² | {row['channels']} | {slow:.1f} | {ours:.2f} | {row['ratio']:.0f}× |")
    names = [name for name in report["stream"][0] if name != "fields"]
    print(f"\n| 384² stream, fields | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for row in report["stream"]:
        print(f"| {row['fields']} | {' | '.join(f'{row[name]:.2f}' for name in names)} |")
    frame, total = report["embedded_frame_ms"], report["stream"][0]["total"]
    print(f"\nOf a frame of the embedded model at 384², 1 step, {frame:.1f} ms: {total / frame:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--repeats", type=int, default=30, help="timed calls for each row")
    arguments = parser.parse_args()
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}",
        "fields": bench_fields(arguments.repeats),
        "reference": bench_reference(),
        "stream": bench_stream(max(30, arguments.repeats)),
        "embedded_frame_ms": measure(60, (LOOK.replace(width=384, height=384, steps=1), {}))[0]["frame_ms"],
    }
    print(json.dumps(report, indent=2)) if arguments.json else show(report)


if __name__ == "__main__":
    main()
