"""The microphone, passed on as late as the pictures are."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

LONGEST = 2.0  # seconds that sound can be late; more is not kept
SLEW = 0.05  # seconds of delay that are added or taken away per second: a listener's player stretches that unheard
FAR = 0.25  # seconds: what is further off is heard to be wrong, a jump is better
WAKE = 0.25


class DelayLine:
    """When each piece of sound is due. Pure: the clock is passed in.

    A piece leaves `delay` seconds after it came, so nothing can drift: no clock but the sender's own paces the sound.
    The delay follows its target slowly.
    """

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, av.AudioFrame]] = deque()
        self.delay: float | None = None
        self._adjusted = 0.0

    def put(self, piece: av.AudioFrame, now: float) -> None:
        self._pieces.append((now, piece))
        while now - self._pieces[0][0] > LONGEST:
            self._pieces.popleft()

    def aim(self, target: float, now: float) -> None:
        """The delay that is wanted now; taken over at once the first time and where it is far off."""
        target = min(max(target, 0.0), LONGEST - 0.1)
        if self.delay is None or abs(target - self.delay) > FAR:
            self.delay = target
        else:
            step = SLEW * min(now - self._adjusted, 1.0)
            self.delay += min(max(target - self.delay, -step), step)
        self._adjusted = now

    def take(self, now: float) -> av.AudioFrame | None:
        """The oldest piece, if it is due."""
        if self._pieces and self.wait(now) <= 0:
            return self._pieces.popleft()[1]
        return None

    def wait(self, now: float) -> float:
        """Seconds until the next piece is due."""
        return self._pieces[0][0] + (self.delay or 0.0) - now if self._pieces else WAKE


RATE = 48_000
JUMP_NS = 100_000_000  # what is further off than that is no jitter


class Clock:
    """Capture times for sound that arrives with jitter: they go on evenly, and follow the arrivals slowly. Pure."""

    def __init__(self) -> None:
        self._next: int | None = None

    def time(self, arrived: int, samples: int) -> int:
        """Of the first of `samples`, which were complete at `arrived` ns."""
        length = samples * 1_000_000_000 // RATE
        wanted = arrived - length
        if self._next is None or abs(wanted - self._next) > JUMP_NS:
            self._next = wanted
        time = self._next + (wanted - self._next) // 64
        self._next = time + length
        return time


class Microphone:
    """Sound of one stream: from whoever publishes it to everybody who looks."""

    def __init__(self) -> None:
        self._listeners: set[Callable[[av.AudioFrame], None]] = set()

    async def run(self, track: MediaStreamTrack, hear: Callable[[np.ndarray, int], None]) -> None:
        """Until the track ends; `hear` gets the sound as `webrtc.stream.Participant` says."""
        clock, resampler = Clock(), av.AudioResampler("fltp", "stereo", RATE)
        with contextlib.suppress(MediaStreamError):
            while True:
                piece = await track.recv()
                assert isinstance(piece, av.AudioFrame)
                arrived = time.monotonic_ns()
                for even in resampler.resample(piece):
                    hear(even.to_ndarray(), clock.time(arrived, even.samples))
                for listener in list(self._listeners):
                    listener(piece)

    def listen(self, listener: Callable[[av.AudioFrame], None]) -> Callable[[], None]:
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)


class AudioOut(MediaStreamTrack):
    """Sound as late as `video_delay()` says, in seconds; not delayed while that is 0, as no picture has come yet."""

    kind = "audio"

    def __init__(self, video_delay: Callable[[], float]) -> None:
        super().__init__()
        self._video_delay = video_delay
        self._line = DelayLine()
        self._pts: int | None = None
        self._shift = 0

    def hear(self, piece: av.AudioFrame) -> None:
        self._line.put(piece, time.monotonic())

    async def recv(self) -> av.AudioFrame:
        while self.readyState == "live":
            now = time.monotonic()
            if delay := self._video_delay():
                self._line.aim(delay, now)
            if (piece := self._line.take(now)) is not None:
                return self._stamped(piece)
            await asyncio.sleep(min(max(self._line.wait(now), 0.001), WAKE))
        raise MediaStreamError

    def _stamped(self, piece: av.AudioFrame) -> av.AudioFrame:
        """A copy whose time goes on evenly when another publisher takes over."""
        copy = av.AudioFrame.from_ndarray(piece.to_ndarray(), format=piece.format.name, layout=piece.layout.name)
        copy.sample_rate, copy.time_base = piece.sample_rate, Fraction(1, piece.sample_rate)
        pts = (piece.pts or 0) + self._shift
        if self._pts is None or not 0 < pts - self._pts <= piece.sample_rate * LONGEST:
            self._shift += (0 if self._pts is None else self._pts + piece.samples) - pts
            pts = (piece.pts or 0) + self._shift
        self._pts = copy.pts = pts
        return copy
