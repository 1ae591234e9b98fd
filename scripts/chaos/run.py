"""Faults in a random but seeded order, changes of parameters all the while, and what must be true in the end."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from scripts.chaos.faults import FAULTS, Skipped, engine_killed, random_change
from scripts.chaos.victim import Load, Victim, daemon_in

RECOVERY_P95 = 3.0  # seconds, on the embedded model


@dataclass
class Report:
    """How it went.

    Attributes:
        faults: how often each was done.
        skipped: faults that cannot be done here, and why.
        changes: random changes of parameters, and `refused` of them with an explanation.
        recovery_s: p50 and p95 from an engine's end to the next result.
        before, after: what the daemon held.
        recordings: files that play.
        problems: what must not be; empty is good.
    """

    faults: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    changes: int = 0
    refused: int = 0
    recovery_s: dict[str, float] = field(default_factory=dict)
    before: Load | None = None
    after: Load | None = None
    recordings: int = 0
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def chaos(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    changes: int = 0,
    engine: str = "",
    recovery: float = RECOVERY_P95,
    calm: float = 6.0,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Torment a daemon for `seconds` and until `changes` changes were made. Raises `AssertionError` when it dies.

    `engine` as `engine.implementation`; `recovery` is the longest that may pass (p95) from an engine's end to the next
    result; `calm` seconds without faults come before the load is measured.
    """
    rng, report = random.Random(seed), Report()
    recoveries: list[float] = []
    with daemon_in(folder, engine) as victim:
        changing = _Changer(victim, seed, report)
        _round(victim, rng, report, recoveries, list(FAULTS), say)  # each once, which also fills caches and pools
        report.before = _calm_load(victim, calm)
        changing.start()
        end = time.monotonic() + seconds
        names, weights = list(FAULTS), list(FAULTS.values())
        while time.monotonic() < end or report.changes < changes:
            _round(victim, rng, report, recoveries, rng.choices(names, weights), say)
        changing.stop()
        report.after = _calm_load(victim, calm)
        tracebacks = victim.tracebacks()
        if (status := victim.stop()) != 0:
            report.problems.append(f"the daemon ended with status {status}")
    p50, p95 = np.percentile(recoveries, [50, 95])
    report.recovery_s = {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "count": len(recoveries)}
    if p95 > recovery:
        report.problems.append(f"recovery after an engine's end takes {p95:.1f} s (p95), more than {recovery:g}")
    if tracebacks:
        report.problems.append(f"{tracebacks} tracebacks in the log")
    report.problems += growth(report.before, report.after)
    _play_recordings(victim.recordings, report)
    return report


def growth(before: Load, after: Load) -> list[str]:
    """What has grown that must stay flat."""
    problems = []
    if after.descriptors > before.descriptors + 10:
        problems.append(f"descriptors grew from {before.descriptors} to {after.descriptors}")
    if after.threads > before.threads + 8:  # pools grow to a bound
        problems.append(f"threads grew from {before.threads} to {after.threads}")
    if after.memory_mb > before.memory_mb * 1.15 + 40:
        problems.append(f"memory grew from {before.memory_mb:.0f} to {after.memory_mb:.0f} MB")
    return problems


def _round(
    victim: Victim,
    rng: random.Random,
    report: Report,
    recoveries: list[float],
    faults: list[Callable[[Victim, random.Random], float | None]],
    say: Callable[[str], None],
) -> None:
    for fault in faults:
        start = time.monotonic()
        try:
            took = fault(victim, rng)
        except Skipped as why:
            report.skipped[fault.__name__] = str(why)
            continue
        report.faults[fault.__name__] = report.faults.get(fault.__name__, 0) + 1
        if fault is engine_killed and took is not None:
            recoveries.append(took)
        victim.check_alive()
        status, _ = victim.ask("GET", "/healthz")
        if status != 200:
            report.problems.append(f"/healthz says {status} after {fault.__name__}")
        say(f"{fault.__name__:<20}{time.monotonic() - start:6.1f} s")


def _calm_load(victim: Victim, seconds: float) -> Load:
    """After so many seconds without faults."""
    victim.delivers()
    time.sleep(seconds)
    return victim.load()


def _play_recordings(folder: Path, report: Report) -> None:
    for path in sorted(folder.glob("*.mp4")):
        try:
            with av.open(str(path)) as container:
                frames = sum(1 for _ in container.decode(video=0))
        except (OSError, ValueError, IndexError) as error:
            report.problems.append(f"{path.name} does not play: {error}")
            continue
        report.recordings += frames > 0
        if not frames:
            report.problems.append(f"{path.name} is empty")


class _Changer:
    """Changes parameters from a thread of its own, sensibly and not."""

    def __init__(self, victim: Victim, seed: int, report: Report) -> None:
        self._victim, self._rng, self._report = victim, random.Random(seed + 1), report
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            change = random_change(self._rng)
            try:
                status, _ = self._victim.ask("PATCH", "/api/parameters", change)
            except OSError as error:
                self._report.problems.append(f"no answer to {change}: {error}")
                continue
            self._report.changes += 1
            self._report.refused += status == 422
            if status not in (200, 422):
                self._report.problems.append(f"status {status} for {change}")
