"""Every test file in a process of its own, its tests in random order: what leans on its neighbours fails here.

python -m scripts.test_alone [--seed 1] [FILE_OR_FOLDER …]

One at a time; prints each file's outcome, seconds and seconds of processors, and ends with 1 if one failed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PASSED, NOTHING_RUN = 0, 5  # exit statuses of pytest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "tests"])
    parser.add_argument("--seed", default="1", help="of the order; see pytest-randomly")
    options = parser.parse_args()
    files = [file for path in options.paths for file in (sorted(path.rglob("test_*.py")) if path.is_dir() else [path])]
    failed = [file for file in files if not passes(file.resolve(), options.seed)]
    print(f"{len(files) - len(failed)} of {len(files)} files pass alone")
    return bool(failed)


def passes(file: Path, seed: str) -> bool:
    command = [sys.executable, "-m", "pytest", f"--randomly-seed={seed}", "--tb=short", str(file)]
    before, started = _processor_seconds(), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    good = done.returncode in (PASSED, NOTHING_RUN)
    taken = f"{time.monotonic() - started:.0f} s, {_processor_seconds() - before:.0f} s of processors"
    print(f"{'passes' if good else 'FAILS'} {file.relative_to(ROOT)} ({taken})", flush=True)
    if not good:
        print(done.stdout, flush=True)
    return good


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
