"""Frame time of the engine by part, size, steps, backend, pipeline and guidance.

python -m scripts.bench_engine [--json] [--frames 60] [--sizes 256,384,512]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2
import numpy as np

from driftcam import Engine, Parameters
from scripts.bench_look import LOOK

NETWORK = ("encode", "denoise", "decode")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--frames", type=int, default=60, help="frames measured per row (after 8 of warm-up)")
    parser.add_argument("--sizes", default="256,384,512")
    options = parser.parse_args()
    sizes = [int(s) for s in options.sizes.split(",")]
    frames = options.frames
    result: dict[str, Any] = {
        "engine": [
            row(frames, size, steps, noise) for noise in ("fixed", "warped") for size in sizes for steps in (1, 2, 4)
        ],
        "backends": backends(frames, sizes[min(1, len(sizes) - 1)]),
        "pipelines": pipelines(frames, sizes[min(1, len(sizes) - 1)]),
        "guidance": guidance(frames, sizes[min(1, len(sizes) - 1)]),
    }
    result["peak_memory_mb"] = max(row["memory_mb"] for row in result["engine"])
    print(json.dumps(result, indent=1) if options.json else tables(result))


def pan(count: int) -> list[np.ndarray]:
    """Frames of 512², a slow camera pan over smooth random texture."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (80, 160, 3), dtype=np.uint8), (1600, 800), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(scene[100:612, 3 * k % 1000 : 3 * k % 1000 + 512]) for k in range(count)]


Variant = tuple[Parameters, dict[str, Any]]
"""Parameters and the other arguments of an engine."""


def measure(frames: int, *variants: Variant, mean: bool = False) -> list[dict]:
    """Times in ms of every stage and of the whole frame, of engines that take each frame in turn.

    Medians; means where frames of one engine are to differ.
    In a process of their own: where others were before, their threads slow all that come later.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_measured, frames, variants, mean).result()


def _measured(count: int, variants: Sequence[Variant], mean: bool) -> list[dict]:
    frames, machines = pan(count + 8), [Engine(parameters, **engine) for parameters, engine in variants]
    for number, frame in enumerate(frames):
        for machine in machines:
            if number == 8:
                machine.clock.clear()
            machine.step(frame)
    return [_times(machine, count, mean) for machine in machines]


def _times(machine: Engine, count: int, mean: bool) -> dict:
    report = machine.report()
    stages = {name: value["p50"] for name, value in report["stages_ms"].items()}
    if mean:
        stages = {name: value["sum"] / count for name, value in report["histogram_ms"]["stages"].items()}
    network = sum(stages.get(name, 0) for name in NETWORK)
    frame_ms = stages["frame"]
    return {
        "stages_ms": stages,
        "network_ms": round(network, 2),
        "frame_ms": round(frame_ms, 2),
        "not_network": round(1 - network / frame_ms, 3),
        "fps": round(1000 / frame_ms, 1),
        "backend": report["backend"],
        "memory_mb": report["memory_mb"],
    }


def row(frames: int, size: int, steps: int, noise: str) -> dict:
    """With fixed noise the frame path alone; with warped noise flow and warp beside it."""
    parameters = LOOK.replace(width=size, height=size, steps=steps, noise=noise)
    return {"noise": noise, "size": size, "steps": steps, **measure(frames, (parameters, {}))[0]}


def backends(frames: int, size: int) -> list[dict]:
    """In a process each: torch's threads would slow OpenVINO's."""
    parameters, names = LOOK.replace(width=size, height=size, steps=1), ("openvino", "torch")
    rows = [{"name": name, **measure(frames, (parameters, {"backend": name}))[0]} for name in names]
    return with_ratio(rows, "torch")


def pipelines(frames: int, size: int) -> list[dict]:
    parameters, names = LOOK.replace(width=size, height=size, steps=4), ("sequential", "stream")
    rows = measure(frames, *((parameters, {"pipeline": name}) for name in names))
    return with_ratio([{"name": name, **row} for name, row in zip(names, rows, strict=True)], "sequential")


def guidance(frames: int, size: int) -> list[dict]:
    """Of n steps, `full` adds n rows of the network, and `initialize` one on every third frame."""
    table, modes = [], ("none", "self", "initialize", "full")
    for steps in (4, 8):
        parameters = LOOK.replace(width=size, height=size, steps=steps, guidance_scale=1.5)
        rows = measure(frames, *((parameters.replace(guidance=mode), {}) for mode in modes), mean=True)
        named = [{"name": f"{mode}, {steps} steps", **row} for mode, row in zip(modes, rows, strict=True)]
        table += with_ratio(named, named[0]["name"])
    return table


def with_ratio(rows: list[dict], base: str) -> list[dict]:
    """Each row's network and frame time over those of the row named `base`, measured in the same run."""
    reference = next(r for r in rows if r["name"] == base)
    ratios = [[round(r[key] / reference[key], 2) for key in ("network_ms", "frame_ms")] for r in rows]
    return [{**r, "network_ratio": a, "frame_ratio": b} for r, (a, b) in zip(rows, ratios, strict=True)]


def tables(result: dict) -> str:
    lines = [f"backend: {result['engine'][0]['backend']}; peak memory {result['peak_memory_mb']} MB", ""]
    lines += ["| noise | size | steps | encode | denoise | decode | network | frame ms | not network | fps |"]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for r in result["engine"]:
        parts = " | ".join(f"{r['stages_ms'].get(name, 0):.1f}" for name in NETWORK)
        lines.append(
            f"| {r['noise']} | {r['size']}² | {r['steps']} | {parts} | {r['network_ms']:.1f} | {r['frame_ms']:.1f} "
            f"| {r['not_network']:.1%} | {r['fps']:.0f} |"
        )
    for name in ("backends", "pipelines", "guidance"):
        lines += ["", f"| {name} | network ms | ratio | frame ms | ratio |", "|---|---|---|---|---|"]
        for r in result[name]:
            ratios = f"{r['network_ms']:.1f} | {r['network_ratio']:.2f} | {r['frame_ms']:.1f} | {r['frame_ratio']:.2f}"
            lines.append(f"| {r['name']} | {ratios} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
