"""When what is received is shown and heard: as it comes, or at its own speed. Times are CLOCK_MONOTONIC ns."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from driftcam.daemon.sources.media import frame_rate, longest_gap
from driftcam.daemon.sources.pacing import Pace
from driftcam.daemon.sources.reception import Reception
from driftcam.daemon.sources.times import SECOND, Playout, Timeline

LATE, OVERLOAD = SECOND // 2, 2 * SECOND
SHOW = SECOND // 4  # even who is always late shows a picture so often
SEGMENT = 10 * SECOND


class Way(Protocol):
    """Of one connection."""

    def picture(self, stamp: int | None, arrived: int) -> int | None:
        """When to show the next picture; None for one that is left out. `stamp`: its own time, None without."""

    def packet(self, stamp: int) -> None:
        """There is sound with this stamp, whether it is heard or not."""

    def sound(self, stamp: int) -> int | None:
        """When to hear a sound; None as long as that cannot be told."""


class AtOwnSpeed:
    """Every picture of a file."""

    def __init__(self, reception: Reception) -> None:
        assert reception.container is not None
        step = round(1e9 / frame_rate(reception.video))
        self._times, self._pace = Timeline(step, longest_gap(reception.container)), Pace(threading.Event())

    def picture(self, stamp: int | None, arrived: int) -> int | None:
        return self._pace.of(self._times.picture(stamp))

    def packet(self, stamp: int) -> None:
        self._times.packet(stamp)

    def sound(self, stamp: int) -> int | None:
        heard = self._times.sound(stamp)
        return None if heard is None else self._pace.moment(heard)


class AsItComes:
    """A live stream: bursts are paced; what is late, because this machine cannot keep up, is left out."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        step = round(1e9 / frame_rate(reception.video))
        self._playout = Playout(step, SEGMENT if reception.segmented else 0, trusted=reception.timed)
        self._clock: StreamClock | None = None
        self._shown = 0

    def picture(self, stamp: int | None, arrived: int) -> int | None:
        now, waiting = time.monotonic_ns(), self._reception.waiting > 0
        due = self._playout.due(stamp, arrived, waiting=waiting)
        if waiting and now - due > OVERLOAD:
            self._reception.skip()
        if waiting and now - due > LATE and now - self._shown < SHOW:
            return None
        due = self._shown = max(now, due)
        if stamp is not None and (self._clock is None or self._clock.late(stamp, due) > LATE):
            self._clock = StreamClock()
            self._clock.late(stamp, due)
        return due

    def packet(self, stamp: int) -> None:
        pass

    def sound(self, stamp: int) -> int | None:
        return None if self._clock is None else self._clock.moment(stamp)


class StreamClock:
    """How a live stream's own times lie on this machine's clock. Pure: the clock is passed in.

    The quickest picture so far defines the moment of all; it is forgotten slowly, as clocks differ a little.
    """

    FORGET_NS = 100_000  # with each picture

    def __init__(self) -> None:
        self._offset: int | None = None

    def late(self, pts: int, captured: int) -> int:
        """By how many ns a picture came later than the quickest ones."""
        sample = captured - pts
        self._offset = sample if self._offset is None else min(sample, self._offset + self.FORGET_NS)
        return sample - self._offset

    def moment(self, pts: int) -> int:
        """CLOCK_MONOTONIC ns of stream time `pts`."""
        return pts + (self._offset or 0)
