"""A video file, or what a pipe brings."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from driftcam.daemon.frames import Picture
from driftcam.daemon.sound import Chunk, Sound
from driftcam.daemon.sources import SourceInfo
from driftcam.daemon.sources.media import frame_rate, play, reason, video_stream
from driftcam.daemon.sources.pacing import Pace
from driftcam.daemon.sources.pipe import Pipe, read_once
from driftcam.engines.api import ParameterError
from driftcam.webrtc.shown import Shown

THROUGH_A_PIPE = "; a pipe can bring what plays from its beginning, such as MPEG-TS or Matroska: give others as files"


class ClipSource:
    """Decoded with FFmpeg, as players show it. The first frame is decoded on opening, as a check.

    What can be read only once is played once, from that frame on. Opening is given up when `stop` is set.
    """

    def __init__(self, path: str, notify: Callable[[str], None], stop: threading.Event | None = None) -> None:
        self._path, self._notify = path, notify
        self.sound: Sound | None = None
        self._start = 0  # of this pass
        self._pace: Pace | None = None
        self._pipe: Pipe | None = None
        self._begun: Iterator[tuple[int, av.VideoFrame]] | None = None
        if not Path(path).exists():
            raise ParameterError("source", path, "there is no such file")
        try:
            self._pipe = Pipe(path, stop or threading.Event()) if read_once(path) else None
            self.info = self._check()
        except (av.FFmpegError, OSError) as error:
            advice = f"it cannot be read as a video ({reason(error)}){THROUGH_A_PIPE if self._pipe else ''}"
            raise ParameterError("source", path, advice) from None
        finally:
            if self._begun is None:
                self.close()

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        self._start, self._pace = 0, Pace(stop) if paced else None
        last, before = -1, None
        image: np.ndarray | None = None
        if self._pipe is not None:
            self._pipe.stop = stop
        try:
            while last != before:  # a pass without a frame: the file is gone or damaged by now
                before = last
                for pts, frame in self._pass():
                    last = self._start + pts
                    for _ in self._pace.still(last) if self._pace is not None else ():
                        if image is not None and not stop.is_set():
                            yield _now(image)
                    if stop.is_set():
                        return
                    image = self._shown(frame)
                    yield _now(image) if paced else Picture(image, last, time.monotonic_ns())
                if not paced or self._pipe is not None:
                    return
                self._start = last + round(1e9 / self.info.fps)
        finally:
            self.close()

    def close(self) -> None:
        self._begun = None
        if self._pipe is not None:
            self._pipe.close()

    def _check(self) -> SourceInfo:
        container, stream = self._open()
        fps = frame_rate(stream)
        self._shown = Shown(stream.sample_aspect_ratio)
        self.sound = Sound() if container.streams.audio else None
        frames = play(container, stream, fps, self.sound, self._hear)
        _, first = next(frames, (0, None))
        if first is None:
            raise ParameterError("source", self._path, "it holds no picture that can be decoded")
        height, width = self._shown(first).shape[:2]
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        info = SourceInfo(width, height, fps, stream.frames or round(seconds * fps) or None, waits=True)
        if self._pipe is None:
            container.close()
        else:
            self._begun = itertools.chain([(0, first)], frames)
        return info

    def _open(self) -> tuple[av.container.InputContainer, av.VideoStream]:
        container = av.open(self._pipe or f"file:{self._path}", "r")  # a name may look like an address
        return container, video_stream(container, self._path)

    def _pass(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Once from the first frame to the last. A damaged rest ends the clip with a notice."""
        try:
            if self._begun is not None:
                begun, self._begun = self._begun, None
                yield from begun
            else:
                container, stream = self._open()
                with container:
                    yield from play(container, stream, self.info.fps, self.sound, self._hear)
        except (av.FFmpegError, OSError) as error:
            self._notify(f"{self._path}: the rest of the clip cannot be read ({reason(error)})")

    def _hear(self, pts: int, samples: np.ndarray) -> None:
        if self.sound is not None:
            due = self._start + pts
            self.sound.write(Chunk(samples, due if self._pace is None else self._pace.moment(due)))


def _now(image: np.ndarray) -> Picture:
    captured = time.monotonic_ns()
    return Picture(image, captured, captured)
