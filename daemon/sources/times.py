"""The times of pictures and sounds, where those that came with them cannot be followed as they are. Pure."""

from __future__ import annotations

SECOND = 1_000_000_000
SLIP = SECOND // 10  # ns that a picture's time may fall behind the one before without being a jump
STUCK = 3  # pictures in a row whose time does not rise are a jump all the same
VOUCH = SECOND  # the most from one packet of sound to the next that shows that the time between has passed
NEAR = 5 * SECOND  # the most between sound and pictures that lie side by side in a file


class Timeline:
    """One time axis for a clip whose own times may jump: joined streams, damaged stamps, stamps that are missing.

    A picture's time rises with its stamp. Where that falls back, or runs ahead by more than `most` ns without sound to
    fill the gap, the picture follows the one before after the usual `step` ns, and what comes is counted from there.
    """

    def __init__(self, step: int, most: int) -> None:
        self._step, self._most = step, max(most, 2 * step)
        self._last = 0  # of the newest picture
        self._offset: int | None = None  # from stamp to time
        self._before: int | None = None  # the same, until the last jump
        self._stuck = 0
        self._vouched, self._packet = 0, 0  # since the newest picture; stamp of the newest packet of sound
        self._heard: int | None = None  # time of the newest sound

    def picture(self, stamp: int | None) -> int:
        """Time of the next picture in ns, from 0, strictly rising; `stamp` is its own, None where it has none."""
        if self._offset is None:
            self._offset = -(stamp or 0)
            return 0
        time = self._last + self._step if stamp is None else stamp + self._offset
        gap = time - self._last
        self._stuck = self._stuck + 1 if gap <= 0 else 0
        if gap < -SLIP or gap - self._vouched > self._most or self._stuck == STUCK:
            time, self._stuck = self._last + self._step, 0
            if stamp is not None:
                self._before, self._offset = self._offset, time - stamp
        self._vouched = 0
        self._last = max(time, self._last + 1)
        return self._last

    def packet(self, stamp: int) -> None:
        """There is sound with this stamp, whether it is heard or not."""
        step, self._packet = stamp - self._packet, stamp
        if 0 < step <= VOUCH:
            self._vouched += step

    def sound(self, stamp: int) -> int | None:
        """Time of a sound; None as long as it cannot be told, because the pictures have not begun or jumped yet."""
        offsets = [offset for offset in (self._offset, self._before) if offset is not None]
        if not offsets:
            return None
        time = min((stamp + offset for offset in offsets), key=lambda time: abs(time - self._last))
        if self._heard is None or abs(time - self._heard) > SECOND:
            behind = self._heard is not None and time < self._heard
            if behind or abs(time - self._last) > NEAR:
                return None
        self._heard = time
        return time
