"""Frames per second and durations of the last moments. The clock is passed in."""

from __future__ import annotations

import statistics
from collections import deque


class Rate:
    """Events per second over the last seconds.

    Attributes:
        total: events so far.
    """

    def __init__(self, window: float = 2.0) -> None:
        self._window = window
        self._times: deque[float] = deque()
        self.total = 0

    def add(self, now: float) -> None:
        self.total += 1
        self._times.append(now)
        self._forget(now)

    def value(self, now: float) -> float:
        self._forget(now)
        return (len(self._times) - 1) / max(now - self._times[0], 1e-9) if len(self._times) > 1 else 0.0

    def _forget(self, now: float) -> None:
        while self._times and now - self._times[0] > self._window:
            self._times.popleft()


class Recent:
    """The median of the last values."""

    def __init__(self, most: int = 31) -> None:
        self._values: deque[float] = deque(maxlen=most)

    def add(self, value: float) -> None:
        self._values.append(value)

    def median(self) -> float:
        """0 without values."""
        return statistics.median(self._values) if self._values else 0.0
