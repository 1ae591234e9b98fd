"""The times of pictures and sounds, where those that came with them cannot be followed as they are. Pure."""

from __future__ import annotations

from collections import deque

SECOND = 1_000_000_000
SLIP = SECOND // 10  # ns that a picture's time may fall behind the one before without being a jump
STUCK = 3  # pictures in a row whose time does not rise are a jump all the same
VOUCH = SECOND  # the most from one packet of sound to the next that shows that the time between has passed
NEAR = 5 * SECOND  # the most between sound and pictures that lie side by side in a file
FOLLOW = 2 * SECOND  # a longer step of a live stream's times is a jump
SILENCE, HABIT = SECOND // 2, 30 * SECOND  # what counts as one between bursts, and for how long it is remembered
CAMERA_MOST = 150  # pictures a second
HURRY = 98  # percent of a step, in a burst


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


class Lead:
    """Whether a stream is so far ahead of the clock that it is a file which is fetched. Pure.

    Its times have run ahead since it began, or since they jumped, and pictures come faster than from any camera: a live
    stream whose times run too fast does the first, and one whose sender had kept some for us both, but not by much.
    """

    def __init__(self) -> None:
        self._stamp = self._at = self._count = 0
        self._first: tuple[int, int] | None = None

    def came(self, stamp: int, at: int) -> None:
        """A picture with this stamp came at `at`, both in ns."""
        if self._first is None or abs(stamp - self._stamp) > FOLLOW:
            self._first, self._count = (stamp, at), 0
        self._stamp, self._at = stamp, at
        self._count += 1

    def above(self, ns: int) -> bool:
        """Whether it is so by more than `ns`."""
        if self._first is None:
            return False
        passed = self._at - self._first[1]
        return self._stamp - self._first[0] - passed > ns and self._count * SECOND > CAMERA_MOST * passed


class Playout:
    """When the pictures of a stream are shown. Pure: the clock is passed in, in ns.

    What comes alone is shown when it comes, whatever its time says. What waits in a burst is shown in the steps of its
    own times, where they can be `trusted`, or else of the pace at which pictures came; a little quicker, so that what
    is held back for nothing melts. It is held no longer than `hold`, or than the sender's habit of falling silent: two
    silences make one, so that after a single jam the newest picture counts.

    Args:
        step: usual ns from picture to picture.
        hold: at least so many ns a picture may be held back.
        trusted: the stream brings times of its own.
    """

    def __init__(self, step: int, hold: int, *, trusted: bool) -> None:
        self._step, self._least, self._trusted = step, hold, trusted
        self._stamp: int | None = None
        self._due: int | None = None
        self._arrivals: deque[int] = deque(maxlen=64)
        self._silences: deque[tuple[int, int]] = deque()  # when they ended, and how long they were

    @property
    def hold(self) -> int:
        """The longest that a picture is held back, in ns."""
        longest = sorted(length for _, length in self._silences)[-2:]
        return max(self._least, longest[0] if len(longest) == 2 else 0)

    def due(self, stamp: int | None, arrived: int, *, waiting: bool) -> int:
        """The moment of a live picture. `waiting`: others have come behind it."""
        self._note(arrived)
        step = self._advance(stamp)
        if self._due is None or not waiting:
            self._due = arrived
        else:
            self._due = min(max(self._due + step * HURRY // 100, arrived), arrived + self.hold)
        return self._due

    def _advance(self, stamp: int | None) -> int:
        before, self._stamp = self._stamp, stamp
        if self._trusted and stamp is not None and before is not None and 0 < stamp - before <= FOLLOW:
            return stamp - before
        if self._trusted or len(self._arrivals) < 2:
            return self._step
        return (self._arrivals[-1] - self._arrivals[0]) // (len(self._arrivals) - 1)

    def _note(self, arrived: int) -> None:
        if self._arrivals and (silence := arrived - self._arrivals[-1]) >= SILENCE:
            self._silences.append((arrived, silence))
        while self._silences and arrived - self._silences[0][0] > HABIT:
            self._silences.popleft()
        self._arrivals.append(arrived)
