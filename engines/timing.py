"""Where the time of a frame goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_KEPT = 512


class StageClock:
    """Milliseconds of the last frames by stage, in buffers of fixed size."""

    def __init__(self) -> None:
        self._rows: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def clear(self) -> None:
        """Forget all, for example after a warm-up."""
        self._rows.clear()
        self._counts.clear()

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

    def summary(self) -> dict[str, dict[str, float]]:
        """Median and 95th percentile in ms of each stage."""
        result = {}
        for name, row in self._rows.items():
            values = row[: min(self._counts[name], _KEPT)]
            p50, p95 = np.percentile(values, (50, 95))
            result[name] = {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
        return result
