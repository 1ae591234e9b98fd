"""Frame time of this tree over that of an older one, measured in turn in one run.

python -m scripts.bench_against REV [--json] [--rounds 4] [--turns 12] [--frames 4] [--sizes 256,384,512] [--steps 1,4]

REV is checked out into a work tree of its own, `build/bench/COMMIT`. For every size and number of steps, each round
starts one process of either tree, side by side, with the same processors, variables and frames. They take turns of
some frames, one at a time, while the other waits; which one begins changes from turn to turn, so that whatever else
the machine does meets both. A turn of one over the turn of the other beside it is one ratio; printed is the median of
all, with the quartiles: where these lie far apart, the machine was not quiet enough to tell.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TREES = ROOT / "build" / "bench"
PLAYER = Path(__file__).with_name("bench_against_player.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", metavar="REV", help="what to compare with, as git names it")
    parser.add_argument("--json", action="store_true", help="print one JSON document: SIZE → STEPS → ratio")
    parser.add_argument("--rounds", type=int, default=4, help="pairs of processes for each case")
    parser.add_argument("--turns", type=int, default=12, help="of either process, in each round")
    parser.add_argument("--frames", type=int, default=4, help="timed in a turn, after one that is not")
    parser.add_argument("--sizes", default="256,384,512")
    parser.add_argument("--steps", default="1,4")
    options = parser.parse_args()
    then = checkout(options.revision)
    ratios: dict[str, dict[str, list[float]]] = {
        size: {steps: [] for steps in options.steps.split(",")} for size in options.sizes.split(",")
    }
    for number in range(options.rounds):  # a case's rounds are spread over the whole run
        for size, by_steps in ratios.items():
            for steps, found in by_steps.items():
                print(f"round {number + 1} of {options.rounds}: {size}², {steps} steps", file=sys.stderr)
                found += play(then, int(size), int(steps), options.turns, options.frames)
    print(json.dumps(document(options.revision, then.name, ratios), indent=1) if options.json else table(then, ratios))


def checkout(revision: str) -> Path:
    """The work tree of `revision`, made if it is not there. Ends the program where git does not know it."""
    named = git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False)
    if named.returncode:
        sys.exit(f"bench-against: REV={revision}: git knows no such commit; give a commit, branch or tag")
    commit = named.stdout.strip()
    tree = TREES / commit[:12]
    if not (tree / "engines").is_dir():
        git("worktree", "prune")  # `make clean` removes trees without telling git
        git("worktree", "add", "--detach", "--force", str(tree), commit)
    return tree


def git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=check, capture_output=True, text=True)


def play(then: Path, size: int, steps: int, turns: int, frames: int) -> list[float]:
    """One round: a ratio now ÷ then for each pair of turns."""
    with player(ROOT, size, steps) as ours, player(then, size, steps) as theirs:
        ratios = []
        for turn in range(turns):
            times = {}
            for process in (ours, theirs) if turn % 2 else (theirs, ours):
                times[process] = taken(process, frames)
            ratios.append(times[ours] / times[theirs])
    return ratios


@contextlib.contextmanager
def player(tree: Path, size: int, steps: int) -> Iterator[subprocess.Popen[str]]:
    """A process that holds an engine of `tree`, warm and waiting."""
    source = tree / "src" if (tree / "src" / "driftcam").is_dir() else tree  # before there was one package
    caches = TREES / "cache" / ("now" if tree == ROOT else tree.name)
    environment = os.environ | {
        "PYTHONPATH": str(source),
        "PYTHONHASHSEED": "0",
        "XDG_CACHE_HOME": str(caches),
        "NUMBA_CACHE_DIR": str(caches / "numba"),
    }
    command = [sys.executable, "-P", str(PLAYER), str(source), str(size), str(steps)]
    with subprocess.Popen(
        command, env=environment, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if answer(process) != "ready":
                sys.exit(f"bench-against: the engine of {tree} does not start")
            yield process
        finally:
            process.kill()


def taken(process: subprocess.Popen[str], frames: int) -> float:
    """Median milliseconds of a frame in one turn."""
    assert process.stdin is not None
    process.stdin.write(f"{frames}\n")
    process.stdin.flush()
    return statistics.median(json.loads(answer(process)))


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit("bench-against: an engine's process ended; what it said stands above")
    return line.strip()


def document(revision: str, commit: str, ratios: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    medians = {
        size: {steps: round(statistics.median(found), 3) for steps, found in by_steps.items()}
        for size, by_steps in ratios.items()
    }
    spread = {size: {steps: quartiles(found) for steps, found in by_steps.items()} for size, by_steps in ratios.items()}
    return {**medians, "against": {"revision": revision, "commit": commit}, "quartiles": spread}


def quartiles(found: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return round(low, 3), round(high, 3)


def table(then: Path, ratios: dict[str, dict[str, list[float]]]) -> str:
    lines = [f"frame time, this tree ÷ {then.name}", "", "| size | steps | ratio | quartiles | pairs |"]
    lines += ["|---|---|---|---|---|"]
    for size, by_steps in ratios.items():
        for steps, found in by_steps.items():
            low, high = quartiles(found)
            lines.append(
                f"| {size}² | {steps} | {statistics.median(found):.3f} | {low:.3f} to {high:.3f} | {len(found)} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
