"""What the look of a session was before, for undo and redo. Pure, the clock passed in."""

from __future__ import annotations

from collections import deque

from driftcam.daemon.session.presets import STREAM_FIELDS
from driftcam.engines.api import Parameters
from driftcam.engines.api.parameters import changed

MOST = 100  # steps that can be undone
TOGETHER = 1.0  # seconds; changes of the same parameters that follow so soon are one step, such as the way of a slider


class History:
    """What belongs to the stream, not to its look, such as the size of the picture, is never undone."""

    def __init__(self, parameters: Parameters) -> None:
        self._now = parameters
        self._past: deque[Parameters] = deque(maxlen=MOST)
        self._future: deque[Parameters] = deque()
        self._last: tuple[float, frozenset[str]] = -TOGETHER, frozenset()

    @property
    def past(self) -> int:
        """Steps that can be undone."""
        return len(self._past)

    @property
    def future(self) -> int:
        """Steps that can be done again."""
        return len(self._future)

    def note(self, parameters: Parameters, now: float) -> None:
        """They are in effect from `now`, monotonic seconds, on."""
        names = frozenset(changed(self._now, parameters).difference(STREAM_FIELDS))
        before, self._now = self._now, parameters
        if not names:
            return
        at, lately = self._last
        self._last = now, names
        self._future.clear()
        if not (self._past and names == lately and now - at < TOGETHER):
            self._past.append(before)

    def undo(self) -> Parameters | None:
        """What was before the last step, from now on what is; None where there was none."""
        return self._go(self._past, self._future)

    def redo(self) -> Parameters | None:
        """The opposite of `undo`; None where nothing was undone since the last change."""
        return self._go(self._future, self._past)

    def _go(self, there: deque[Parameters], back: deque[Parameters]) -> Parameters | None:
        if not there:
            return None
        back.append(self._now)
        self._now = there.pop().replace(**{name: getattr(self._now, name) for name in STREAM_FIELDS})
        self._last = -TOGETHER, frozenset()
        return self._now
