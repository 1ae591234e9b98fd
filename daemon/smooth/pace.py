"""When which moment is shown. Pure: the clock is passed in, all times are in ns."""

from __future__ import annotations

from collections import deque

SECOND = 1_000_000_000
FAR = SECOND // 2
"""Pictures further apart than this show a source that paused: nothing is made between them."""
_ENOUGH = 1.1  # periods between two pictures from which on there is room for one between them
_RECENT = 16  # pictures on which delay and rate rest
_IN_TIME = 0.8  # share of them that is to be known before its moment is shown
_HURRY = 0.1  # share by which the moments shown may run faster or slower until they have the right delay


def rate_of(smooth: str) -> float:
    """Pictures a second that a value of `Parameters.smooth` asks for, 0 for none."""
    return 0.0 if smooth == "off" else float(smooth)


class Grid:
    """Evenly spaced times over those of a file's pictures, which are kept where they are close enough already.

    `rate`: times a second.
    """

    def __init__(self, rate: float) -> None:
        self._period = SECOND / rate
        self._before: int | None = None
        self._next = 0.0

    def times(self, pts: int) -> list[int]:
        """What is to be shown after the picture before and up to that of `pts`, rising; not always `pts` itself."""
        before, self._before = self._before, pts
        if before is None or not _ENOUGH * self._period <= pts - before <= FAR:
            self._next = pts + self._period
            return [pts]
        found = []
        while self._next <= pts + self._period / 16:
            found.append(min(round(self._next), pts))
            self._next += self._period
        return found


class Pace:
    """The moments of a live stream that are shown at an even rate, as late as it takes to know the picture after each.

    Pictures come when they come. How late is late enough for most follows from the last ones; a straggler is shown when
    it is there. The moments never go back and never wait: who asks late skips some.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._period = SECOND / rate
        self._gaps: deque[int] = deque(maxlen=_RECENT)
        self._needs: deque[int] = deque(maxlen=_RECENT)
        self._newest: int | None = None
        self._delay: float | None = None
        self._asked = 0
        self.made = False

    def came(self, captured: int, now: int) -> None:
        """A picture of that moment is there.

        Sets `made`: whether there is room for pictures between those that come.
        """
        if self._newest is not None:
            gap = captured - self._newest
            if gap <= FAR:
                self._gaps.append(gap)
                self._needs.append(now - self._newest)
        self._newest = captured
        if len(self._gaps) > 1:
            usual = sorted(self._gaps)[len(self._gaps) // 2]
            self.made = usual >= self._period * (_ENOUGH if self.made else _ENOUGH + 0.05)

    def moment(self, now: int) -> int | None:
        """What is to be shown `now`, at most the newest picture's moment; None as long as nothing can be said."""
        if self._newest is None or not self._needs:
            return None
        wanted = sorted(self._needs)[round(_IN_TIME * (len(self._needs) - 1))]
        if self._delay is None:
            self._delay = wanted
        most = _HURRY * min(now - self._asked, SECOND // 10)
        self._delay += min(max(wanted - self._delay, -most), most)
        self._asked = now
        return min(now - round(self._delay), self._newest)

    def next_due(self, due: int, now: int) -> int:
        """When to ask again: an even beat, of which some are left out where asking takes longer."""
        return due + round(self._period * (1 + max(0, now - due) // self._period))


def shown_fps(fps: float, rate: float) -> float:
    """Of a source's pictures with those between them."""
    return rate if rate >= _ENOUGH * fps else fps
