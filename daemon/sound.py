"""Sound beside the pictures: from one source to any number of sinks, matched by time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RATE, CHANNELS = 48_000, 2
KEEP_NS = 20_000_000_000  # more than any picture is on its way; a reader that does not read loses the oldest


@dataclass(frozen=True)
class Chunk:
    """A piece of sound.

    Attributes:
        samples: (CHANNELS, n) float32 at RATE.
        pts: time of the first sample in ns, on the axis of `Picture.pts`.
    """

    samples: np.ndarray
    pts: int


class Sound:
    """What a source with sound offers as `sound`. Written in its thread, read in those of the sinks."""

    def __init__(self) -> None:
        self._readers: set[SoundReader] = set()
        self._lock = threading.Lock()

    @property
    def wanted(self) -> bool:
        """Whether anyone reads: otherwise it need not be decoded."""
        return bool(self._readers)

    def write(self, chunk: Chunk) -> None:
        with self._lock:
            for reader in self._readers:
                reader.put(chunk)

    def reader(self) -> SoundReader:
        """Everything that is written from now on. The caller closes it."""
        reader = SoundReader(self)
        with self._lock:
            self._readers.add(reader)
        return reader

    def forget(self, reader: SoundReader) -> None:
        with self._lock:
            self._readers.discard(reader)


class SoundReader:
    """One sink's view of a `Sound`."""

    def __init__(self, sound: Sound) -> None:
        self._sound = sound
        self._chunks: deque[Chunk] = deque()
        self._lock = threading.Lock()

    def put(self, chunk: Chunk) -> None:
        with self._lock:
            self._chunks.append(chunk)
            while chunk.pts - self._chunks[0].pts > KEEP_NS:
                self._chunks.popleft()

    def take(self, until: int) -> list[Chunk]:
        """Removes and returns the chunks that begin before `until` ns, oldest first."""
        taken = []
        with self._lock:
            while self._chunks and self._chunks[0].pts < until:
                taken.append(self._chunks.popleft())
        return taken

    def close(self) -> None:
        self._sound.forget(self)


SoundOf = Callable[[], Sound | None]
"""The sound of a source at this moment, if there is a source and it has any. May be called from any thread."""


def silent() -> None:
    """A source without sound."""


class SoundFeed:
    """Reads whatever sound there is at the moment: that of a source which came later than the sink, or came back."""

    def __init__(self, current: SoundOf) -> None:
        self._current = current
        self._sound: Sound | None = None
        self._reader: SoundReader | None = None
        self._follow()

    @property
    def present(self) -> bool:
        """Whether there is or was any sound."""
        self._follow()
        return self._reader is not None

    def take(self, until: int) -> list[Chunk]:
        """As `SoundReader.take`."""
        self._follow()
        return self._reader.take(until) if self._reader is not None else []

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _follow(self) -> None:
        sound = self._current()
        if sound is not None and sound is not self._sound:
            self.close()
            self._sound, self._reader = sound, sound.reader()


def fitted(samples: np.ndarray, gap: int, tolerance: int = RATE // 50) -> np.ndarray:
    """`samples` made to follow what was written, `gap` samples before them (negative: they overlap). Pure.

    Small deviations are the jitter of clocks and are ignored: the sound goes on without a click. A gap is filled
    with silence, what overlaps is cut off.
    """
    if abs(gap) <= tolerance:
        return samples
    if gap > 0:
        return np.concatenate([np.zeros((samples.shape[0], gap), samples.dtype), samples], axis=1)
    return samples[:, -gap:]
