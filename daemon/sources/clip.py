"""A video file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from driftcam.daemon.frames import Picture
from driftcam.daemon.sound import Chunk, Sound
from driftcam.daemon.sources import SourceInfo
from driftcam.daemon.sources.media import Hear, frame_rate, play, reason, upright, video_stream
from driftcam.daemon.sources.pacing import Pace
from driftcam.engines.api import ParameterError


class ClipSource:
    """A video file, decoded with FFmpeg and turned upright. The first frame is decoded on opening, as a check."""

    def __init__(self, path: str, notify: Callable[[str], None]) -> None:
        self._path, self._notify = path, notify
        if not Path(path).exists():
            raise ParameterError("source", path, "there is no such file")
        try:
            with av.open(path) as container:
                stream = video_stream(container, path)
                fps = frame_rate(stream)
                _, first = next(play(container, stream, fps, None, _unheard), (0, None))
                if first is None:
                    raise ParameterError("source", path, "it holds no picture that can be decoded")
                height, width = upright(first).shape[:2]
                seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
                frames = stream.frames or round(seconds * fps) or None
                self.sound = Sound() if container.streams.audio else None
        except (av.FFmpegError, OSError) as error:
            raise ParameterError("source", path, f"it cannot be read as a video ({reason(error)})") from None
        self.info = SourceInfo(width, height, fps, frames, waits=True)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        pace = Pace(stop)
        start, last, before = 0, -1, None

        def hear(pts: int, samples: np.ndarray) -> None:
            if self.sound is not None:
                due = start + pts
                self.sound.write(Chunk(samples, pace.moment(due) if paced else due))

        while last != before:  # a pass without a frame: the file is gone or damaged by now
            before = last
            for pts, frame in self._decode(hear):
                last = max(start + pts, last + 1)
                if paced:
                    pace.wait(last)
                if stop.is_set():
                    return
                image = upright(frame)
                captured = time.monotonic_ns()
                yield Picture(image, captured if paced else last, captured)
            if not paced:
                return
            start = last + round(1e9 / self.info.fps)

    def _decode(self, hear: Hear) -> Iterator[tuple[int, av.VideoFrame]]:
        """One pass. A damaged rest ends the clip with a notice."""
        try:
            with av.open(self._path) as container:
                stream = video_stream(container, self._path)
                yield from play(container, stream, self.info.fps, self.sound, hear)
        except (av.FFmpegError, OSError) as error:
            self._notify(f"{self._path}: the rest of the clip cannot be read ({reason(error)})")


def _unheard(pts: int, samples: np.ndarray) -> None:
    pass
