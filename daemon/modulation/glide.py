"""The way of all modulated values together, such that none of what is followed can make the picture strobe.

WCAG 2.2, success criterion 2.3.1, allows three flashes in any second; a flash is a pair of opposing changes of relative
luminance. Therefore all values move in lockstep along straight lines between knots that lie at least a sixth of a
second apart: whatever is followed, however many of them and however set, luminance that rises or falls along such a
line changes its direction at knots only, at most six times in a second, which are three pairs. Pure; the clock is
passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from driftcam.engines.api.shift import NO_SHIFT, Shift

FLASHES = 3  # a second
LEAST = 1 / (2 * FLASHES)  # seconds between two knots
_ROUNDING = 1e-6


class Glide:
    """In seconds on one axis that only grows."""

    def __init__(self) -> None:
        self._begin = self._end = -math.inf
        self._start: Shift = NO_SHIFT
        self._goal: Shift = NO_SHIFT

    @property
    def resting(self) -> bool:
        """Nothing is moved, nor on its way back."""
        return not self._start and not self._goal

    def at(self, now: float, beat: float, origin: float, goal: Callable[[float, float], Shift]) -> Shift:
        """Where the values are.

        Args:
            beat, origin: seconds of a beat, and when one falls: knots divide beats evenly.
            goal: asked at a knot where the values are to be at the next one, with the seconds until then.
        """
        if now >= self._end:
            self._start = self._goal
            on_time = now < self._end + LEAST
            self._begin = self._end if on_time else now
            self._end = _next_knot(self._begin, beat, origin)
            self._goal = _without_zeros(goal(self._end, self._end - self._begin), self._start)
        share = (now - self._begin) / (self._end - self._begin)
        names = self._start.keys() | self._goal.keys()
        return {name: (1 - share) * self._start.get(name, 0.0) + share * self._goal.get(name, 0.0) for name in names}


def _next_knot(begin: float, beat: float, origin: float) -> float:
    apart = beat / max(1, math.floor(beat / LEAST + _ROUNDING))
    knot = origin + apart * math.ceil((begin + LEAST - origin) / apart - _ROUNDING)
    return max(knot, begin + LEAST)


def _without_zeros(goal: Shift, start: Shift) -> Shift:
    """What is at rest and stays there is not moved."""
    return {name: value for name, value in goal.items() if value or start.get(name)}
