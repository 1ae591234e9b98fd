"""Percentiles, memory, processes."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np


class Samples:
    """The newest durations, in ms."""

    def __init__(self, most: int = 20_000) -> None:
        self._values: deque[float] = deque(maxlen=most)

    def add(self, value: float) -> None:
        self._values.append(value)

    def summary(self) -> dict[str, float]:
        """p50 and p95, empty without samples."""
        if not self._values:
            return {}
        p50, p95 = np.percentile(self._values, [50, 95])
        return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}

    def recent(self, count: int = 30) -> float:
        """Median of the last `count`, 0 without samples."""
        newest = list(self._values)[-count:]
        return float(np.median(newest)) if newest else 0.0


class Patience:
    """How long a silence may last before it means something: several times the longest of the last pauses. Pure.

    `least`, `usual`: seconds at least, and the pause that is expected before any was seen. The clock is passed in.
    """

    PAUSES, TIMES = 8, 2.5

    def __init__(self, least: float, usual: float = 0.0) -> None:
        self._least = least
        self._pauses: deque[float] = deque([usual], maxlen=self.PAUSES)
        self._last: float | None = None

    @property
    def seconds(self) -> float:
        return max(self._least, self.TIMES * max(self._pauses))

    def came(self, now: float) -> None:
        """Something came at `now`, in seconds."""
        if self._last is not None:
            self._pauses.append(now - self._last)
        self._last = now


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process; False where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def free_memory_mb() -> float | None:
    """What programs can still have without swapping, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kilobytes) / 1024 if kilobytes else None


def oom_kills() -> int:
    """Processes that the kernel has ended on this machine because there was no memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
