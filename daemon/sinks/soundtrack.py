"""The sound of a file that is being written."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from driftcam.daemon.sound import CHANNELS, RATE, SoundFeed, fitted

# Sound that stays away is taken for silence after this time: the muxer would hold the pictures back for it.
PATIENCE_NS = 1_000_000_000
BIT_RATE = 160_000


class SoundTrack:
    """An AAC stream of `container`, fed from `feed`; starts with the first picture."""

    def __init__(self, container: av.container.OutputContainer, feed: SoundFeed) -> None:
        self._feed = feed
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        self._stream.bit_rate = BIT_RATE
        self._start: int | None = None
        self._written = 0  # samples

    def packets(self, picture: int) -> list[av.Packet]:
        """The sound up to the picture with pts `picture`, in ns."""
        return list(self._packets(picture))

    def rest(self, end: int) -> list[av.Packet]:
        """The sound up to the end of the last picture, and what the encoder still holds."""
        return [*self._packets(end), *self._stream.encode(None)]

    def _packets(self, picture: int) -> Iterator[av.Packet]:
        self._start = picture if self._start is None else self._start
        for chunk in self._feed.take(picture):
            # A track that has not begun begins exactly; later small deviations do no harm.
            gap = self._position(chunk.pts) - self._written
            yield from self._encode(fitted(chunk.samples, gap, **({} if self._written else {"tolerance": 0})))
        if (missing := self._position(picture - PATIENCE_NS) - self._written) > 0:
            yield from self._encode(np.zeros((CHANNELS, missing), np.float32))

    def _position(self, pts: int) -> int:
        assert self._start is not None
        return round((pts - self._start) * RATE / 1e9)

    def _encode(self, samples: np.ndarray) -> Iterator[av.Packet]:
        if not samples.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE, self._written
        frame.time_base = Fraction(1, RATE)
        self._written += samples.shape[1]
        yield from self._stream.encode(frame)
