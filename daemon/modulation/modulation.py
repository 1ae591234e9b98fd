"""A session's modulation: by how much each frame's parameters are moved."""

from __future__ import annotations

from driftcam.daemon.frames import Picture
from driftcam.daemon.modulation.followed import Hearing, Watching
from driftcam.daemon.modulation.glide import Glide
from driftcam.daemon.modulation.settings import LEVELS, MOTION, WAVES, Settings
from driftcam.daemon.modulation.waves import wave
from driftcam.daemon.sound import SoundFeed, SoundOf
from driftcam.engines.api.shift import NO_SHIFT, Shift, span


class Modulation:
    """Call from one thread.

    Args:
        sound: that of the session; decoded only while something follows it.

    Attributes:
        settings: what is asked for.
        shift: of the newest frame.
    """

    def __init__(self, sound: SoundOf) -> None:
        self.settings = Settings()
        self.shift: Shift = NO_SHIFT
        self._sound = sound
        self._origin = 0.0
        self._glide = Glide()
        self._feed: SoundFeed | None = None
        self._hearing, self._watching = Hearing(), Watching()

    def change(self, changes: object) -> None:
        """See `Settings.changed`; what is moved goes there without a jump. Raises `ParameterError`."""
        self.settings = self.settings.changed(changes)
        if self._feed is not None and not self._follow(LEVELS):
            self.close()

    def beat(self, pts: int) -> None:
        """One falls now, in ns on the axis of the frames."""
        self._origin = pts / 1e9

    def of(self, picture: Picture) -> Shift:
        """For a frame; their times grow."""
        if self._glide.resting and not self.settings.active:
            self.shift = NO_SHIFT
            return NO_SHIFT
        shift = self._glide.at(
            picture.pts / 1e9, 60 / self.settings.bpm, self._origin, lambda end, gap: self._goal(end, gap, picture)
        )
        self.shift = {} if self._glide.resting else shift
        return self.shift

    def close(self) -> None:
        """The sound is not needed any more."""
        if self._feed is not None:
            self._feed.close()
            self._feed, self._hearing = None, Hearing()

    def _follow(self, kinds: dict[str, str]) -> bool:
        return any(each.follows in kinds for each in self.settings.active.values())

    def _goal(self, end: float, gap: float, picture: Picture) -> Shift:
        found = self._heard(gap, picture) if self._follow(LEVELS) else {}
        if self._follow(MOTION):
            found["motion"] = self._watching.look(picture.image)
        beats = (end - self._origin) * self.settings.bpm / 60
        beats = round(beats, 6)  # a knot is on its beat, not just before
        goal = {}
        for target, each in self.settings.active.items():
            value = wave(each.follows, beats / each.beats) if each.follows in WAVES else found[each.follows]
            goal[target] = each.depth * value * span(target)
        return goal

    def _heard(self, gap: float, picture: Picture) -> dict[str, float]:
        if self._feed is None:
            self._feed = SoundFeed(self._sound)
        return self._hearing.after(gap, self._feed.take(picture.pts))
