"""A video file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from daemon.frames import Picture
from daemon.sources import SourceInfo
from daemon.sources.pacing import Pace
from engines.api import ParameterError

DEFAULT_FPS = 25.0


class ClipSource:
    """A video file, decoded with FFmpeg and turned upright. The first frame is decoded on opening, as a check."""

    def __init__(self, path: str, notify: Callable[[str], None]) -> None:
        self._path, self._notify = path, notify
        if not Path(path).exists():
            raise ParameterError("source", path, "there is no such file")
        try:
            with av.open(path) as container:
                stream = _video_stream(container, path)
                first = next(_pictures(container, stream), None)
                if first is None:
                    raise ParameterError("source", path, "it holds no picture that can be decoded")
                height, width = _upright(first).shape[:2]
                fps = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
                seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
                frames = stream.frames or round(seconds * fps) or None
        except (av.FFmpegError, OSError) as error:
            raise ParameterError("source", path, f"it cannot be read as a video ({_reason(error)})") from None
        self.info = SourceInfo(width, height, fps, frames, waits=True)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        pace = Pace(stop)
        start, last, before = 0, -1, None
        while last != before:  # a pass without a frame: the file is gone or damaged by now
            before = last
            for pts, image in self._decode():
                last = max(start + pts, last + 1)
                if paced:
                    pace.wait(last)
                if stop.is_set():
                    return
                captured = time.monotonic_ns()
                yield Picture(image, captured if paced else last, captured)
            if not paced:
                return
            start = last + round(1e9 / self.info.fps)

    def _decode(self) -> Iterator[tuple[int, np.ndarray]]:
        """Time in ns from the first frame, and picture. A damaged rest ends the clip with a notice."""
        first: int | None = None
        try:
            with av.open(self._path) as container:
                stream = _video_stream(container, self._path)
                for number, frame in enumerate(_pictures(container, stream)):
                    if frame.pts is None or frame.time_base is None:
                        pts = round(number * 1e9 / self.info.fps)
                    else:
                        pts = int(frame.pts * frame.time_base * 1_000_000_000)
                    first = pts if first is None else first
                    yield pts - first, _upright(frame)
        except (av.FFmpegError, OSError) as error:
            self._notify(f"{self._path}: the rest of the clip cannot be read ({_reason(error)})")


def _video_stream(container: av.container.InputContainer, path: str) -> av.VideoStream:
    """The first stream of moving pictures; the cover of an audio file is none."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            stream.thread_type = "AUTO"
            return stream
    raise ParameterError("source", path, "it has sound but no video" if container.streams.audio else "it has no video")


def _pictures(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Decoded frames; single damaged packets are skipped."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue


def _upright(frame: av.VideoFrame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
