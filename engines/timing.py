"""Where the time of a frame goes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_KEPT = 512
BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


class StageClock:
    """Milliseconds by stage: of the last frames in buffers of fixed size, of all frames counted by size."""

    def __init__(self) -> None:
        self._rows: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}
        self._sizes: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def clear(self) -> None:
        """Forget all, for example after a warm-up."""
        self._rows.clear()
        self._counts.clear()
        self._sizes.clear()
        self._sums.clear()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - start) * 1e3)

    def add(self, name: str, milliseconds: float) -> None:
        row = self._rows.setdefault(name, np.zeros(_KEPT))
        count = self._counts.get(name, 0)
        row[count % _KEPT] = milliseconds
        self._counts[name] = count + 1
        self._sizes.setdefault(name, [0] * (len(BOUNDS_MS) + 1))[bisect_left(BOUNDS_MS, milliseconds)] += 1
        self._sums[name] = self._sums.get(name, 0.0) + milliseconds

    def histogram(self) -> dict[str, Any]:
        """Of all frames: `bounds` in ms; by stage how many were up to each bound, the last above all, and their sum."""
        stages = {name: {"counts": list(sizes), "sum": self._sums[name]} for name, sizes in self._sizes.items()}
        return {"bounds": BOUNDS_MS, "stages": stages}

    def summary(self) -> dict[str, dict[str, float]]:
        """Median and 95th percentile in ms of each stage."""
        result = {}
        for name, row in self._rows.items():
            values = row[: min(self._counts[name], _KEPT)]
            p50, p95 = np.percentile(values, (50, 95))
            result[name] = {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
        return result
