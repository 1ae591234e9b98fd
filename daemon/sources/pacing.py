"""Playing material at its own speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

STILL_NS = 1_000_000_000


class Pace:
    """The moment of each frame. Who is late goes on from there instead of hurrying."""

    LATE = 200_000_000

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._start: int | None = None

    def wait(self, due: int) -> None:
        """Until `due` ns after the first frame, or until stopped."""
        self._stop.wait(max(0, self.of(due) - time.monotonic_ns()) / 1e9)

    def still(self, due: int) -> Iterator[None]:
        """As `wait`; once a second on the way, so that whoever holds a picture may show it again."""
        while self.of(due) - time.monotonic_ns() > STILL_NS and not self._stop.wait(STILL_NS / 1e9):
            yield
        self.wait(due)

    def of(self, due: int) -> int:
        """CLOCK_MONOTONIC ns of the frame that is `due` ns after the first one; from now on, if that was long ago."""
        now = time.monotonic_ns()
        if self._start is None or now - self._start - due > self.LATE:
            self._start = now - due
        return self._start + due

    def moment(self, due: int) -> int:
        """CLOCK_MONOTONIC ns of `due` ns after the first frame; now, as long as there was none."""
        return due + (time.monotonic_ns() if self._start is None else self._start)
