"""`python -m scripts.chaos`: see `scripts.chaos.run`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from scripts.chaos.run import chaos


def main() -> int:
    parser = argparse.ArgumentParser(description="the daemon under everything that can go wrong")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--changes", type=int, default=10_000, help="random changes of parameters at least")
    parser.add_argument("--engine", default="", metavar="MODULE:CLASS", help="instead of the embedded model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = chaos(
            Path(folder),
            seconds=options.seconds,
            seed=options.seed,
            changes=options.changes,
            engine=options.engine,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(json.dumps(report.to_dict(), indent=2))
    for problem in report.problems:
        print(f"chaos: {problem}", file=sys.stderr)
    return bool(report.problems)


if __name__ == "__main__":
    sys.exit(main())
