"""The embedded networks in every backend of this machine's processor: time, processor time, agreement with torch.

python -m scripts.bench_backends [--json] [--size 384] [--rounds 20]

Processor time is what one call costs all cores together, whatever else runs beside it; on a busy machine trust it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from typing import Any

import torch

from driftcam.engines.backends.network import UNIT
from driftcam.engines.backends.openvino_backend import OpenVinoBackend
from driftcam.engines.backends.torch_backend import TorchBackend
from driftcam.engines.doctor.facts import processor
from driftcam.engines.doctor.selftest import random_inputs
from driftcam.engines.models.embedded.model import embedded_specs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", type=int, default=384, help="multiple of 64")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    rows = measure(options.size // UNIT, options.rounds)
    base = next(row for row in rows if row["backend"] == "torch fp32")
    for row in rows:
        row["times_as_fast"] = round(base["processor_ms"] / row["processor_ms"], 2)
    result = {"size": options.size, "processor": processor().detail, "system": platform.system(), "backends": rows}
    print(json.dumps(result, indent=1) if options.json else table(result))


def measure(units: int, rounds: int) -> list[dict[str, Any]]:
    """Least time of each network, in turns so that all meet the same disturbance; summed over the three networks."""
    sizes = {"batch": 1, "height": units, "width": units}
    openvino, reference = OpenVinoBackend(), TorchBackend()
    made = [(openvino, precision) for precision in openvino.precisions] + [(reference, "fp32")]
    rows: dict[str, dict[str, Any]] = {}
    for spec in embedded_specs():
        shapes, inputs = spec.shapes(**sizes), random_inputs(spec, sizes)
        networks = {f"{b.name} {p}": b.compile(spec, shapes, p) for b, p in made}
        exact = networks["torch fp32"](*inputs).float().clone()
        torch.set_num_threads(1)  # as many as the engine leaves it
        least = {name: [float("inf")] * 2 for name in networks}
        for _ in range(rounds):
            for name, network in networks.items():
                starts = time.perf_counter(), time.process_time()
                result = network(*inputs)
                taken = time.perf_counter() - starts[0], time.process_time() - starts[1]
                least[name] = [min(pair) for pair in zip(least[name], taken, strict=True)]
        for name, network in networks.items():
            row = rows.setdefault(name, {"backend": name, "ms": 0.0, "processor_ms": 0.0, "differs": {}})
            row["ms"] = round(row["ms"] + least[name][0] * 1e3, 2)
            row["processor_ms"] = round(row["processor_ms"] + least[name][1] * 1e3, 2)
            result = network(*inputs).float()
            row["differs"][spec.name] = round(float((result - exact).std() / exact.std()), 6)
    return list(rows.values())


def table(result: dict) -> str:
    lines = [
        result["processor"],
        "",
        f"| {result['size']}² | ms | processor ms | times as fast | differs from torch by |",
    ]
    lines += ["|---|---|---|---|---|"]
    for row in result["backends"]:
        differs = ", ".join(f"{name} {value:.2%}" for name, value in row["differs"].items())
        lines.append(f"| {row['backend']} | {row['ms']} | {row['processor_ms']} | {row['times_as_fast']} | {differs} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
