"""Several streams in one engine process: one after the other, or denoised together? `python -m scripts.bench_sessions`

The table shows how long a round takes, in which every stream gets one result, and the ratio of the two ways. The rule
in `engines.host` (together on a graphics card, one after the other on a CPU) follows from it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.planes import NO_PLANES
from driftcam.engines.host import EngineHost
from scripts.bench_look import LOOK

WARM_UP = 3


def measure(streams: int, side: int, steps: int, rounds: int, backend: str) -> dict[str, float]:
    """Median ms of a round, both ways interleaved so that a busy machine is equally unfair to both."""
    rng = np.random.default_rng(0)
    hosts = {
        name: EngineHost(EngineOptions(pipeline="sequential", backend=backend), together=name == "together")
        for name in ("apart", "together")
    }
    looks = [LOOK.replace(seed=n, width=side, height=side, steps=steps) for n in range(streams)]
    engines = [hosts["apart"].open(look) for look in looks]
    for rows in engines[0].rows(looks[0], streams):
        engines[0].model.prepare(looks[0], rows)
    frames = rng.integers(0, 256, (16, side, side, 3), np.uint8)
    times: dict[str, list[float]] = {name: [] for name in hosts}
    for number in range(WARM_UP + rounds):
        for name, host in hosts.items():
            start = time.perf_counter()
            for _ in host.process([(engine, frames[number % 16], number, NO_PLANES) for engine in engines]):
                pass
            if number >= WARM_UP:
                times[name].append((time.perf_counter() - start) * 1000)
    apart, together = (statistics.median(times[name]) for name in hosts)
    return {"streams": streams, "apart_ms": apart, "together_ms": together, "ratio": together / apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--streams", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(n, options.size, options.steps, options.rounds, options.backend) for n in options.streams]
    if options.json:
        print(json.dumps(rows))
        return
    print("streams  one after the other   together   together ÷ apart")
    for row in rows:
        print(
            f"{row['streams']:>7.0f}  {row['apart_ms']:>17.1f} ms {row['together_ms']:>7.1f} ms   {row['ratio']:>16.2f}"
        )


if __name__ == "__main__":
    main()
