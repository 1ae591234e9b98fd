"""How much one client, and all together, may ask for. The clock is passed in."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator

MOST_CLIENTS = 1024


class RateLimiter:
    """A bucket of requests for every client: `per_second` on average, twice as many at once."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def wait(self, client: str, now: float) -> float:
        """0 where a request of `client` is within its rate, else the seconds until one is."""
        most = 2 * self.per_second
        left, since = self._buckets.pop(client, (most, now))
        left = min(most, left + max(0.0, now - since) * self.per_second)
        allowed = left >= 1
        self._buckets[client] = (left - allowed, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)  # the one that was silent for longest
        return 0.0 if allowed else (1 - left) / self.per_second


class ConcurrencyLimit:
    """A number of places."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextlib.contextmanager
    def slot(self) -> Iterator[bool]:
        """Whether there was one; it is free again afterwards."""
        if self.taken >= self.most:
            yield False
            return
        self.taken += 1
        try:
            yield True
        finally:
            self.taken -= 1
