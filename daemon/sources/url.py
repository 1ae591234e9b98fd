"""A stream or a file at an address: RTSP cameras, MPEG-TS over UDP, HLS, files over HTTP."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator

import av
import numpy as np

from driftcam.daemon.frames import Picture
from driftcam.daemon.sound import Chunk, Sound
from driftcam.daemon.sources import SourceInfo
from driftcam.daemon.sources.media import frame_rate, play, reason, upright, video_stream
from driftcam.daemon.sources.pacing import Pace
from driftcam.engines.api import ParameterError

OPEN_S, READ_S = 10.0, 5.0  # patience with whoever does not answer, or falls silent
RETRY_S, RETRY_MOST_S = 1.0, 8.0
LATE_NS = 500_000_000
# A playlist or a redirection from outside must not open files of this machine.
PROTOCOLS = "http,https,tcp,tls,udp,rtp,rtsp,srt,hls,crypto,httpproxy"
OPTIONS = {"protocol_whitelist": PROTOCOLS, "analyzeduration": "1000000"}


class UrlSource:
    """Opened again whenever it ends or breaks. What has an end (a file) is played at its own speed."""

    def __init__(self, url: str, notify: Callable[[str], None]) -> None:
        self._url, self._notify = url, notify
        self._name = re.sub(r"//[^/@]*@", "//…@", url)  # names and passwords are not for the log
        try:
            with self._open() as container:
                stream = video_stream(container, self._name)
                fps = frame_rate(stream)
                _, first = next(play(container, stream, fps, None, lambda pts, samples: None), (0, None))
                if first is None:
                    raise ParameterError("source", self._name, "it holds no picture that can be decoded")
                height, width = upright(first).shape[:2]
                self.sound = Sound() if container.streams.audio else None
        except (av.FFmpegError, OSError) as error:
            raise ParameterError("source", self._name, f"it cannot be played ({reason(error)})") from None
        self.info = SourceInfo(width, height, fps, None, waits=False)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        failures = 0
        lost = ""
        while not stop.is_set():
            try:
                with self._open() as container:
                    stream = video_stream(container, self._name)
                    endless = not container.duration
                    for picture in self._live(container, stream) if endless else self._file(container, stream, stop):
                        if stop.is_set():
                            return
                        if lost:
                            self._notify(f"{self._name}: it is back")
                        failures, lost = 0, ""
                        yield picture
                if not endless:
                    continue
                why = "the stream ended"
            except (av.FFmpegError, OSError, ParameterError) as error:
                why = reason(error)
            if not lost:
                self._notify(f"{self._name}: nothing comes any more ({why}); connecting again")
                lost = why
            stop.wait(min(RETRY_S * 2**failures, RETRY_MOST_S))
            failures += 1

    def _open(self) -> av.container.InputContainer:
        options = OPTIONS | ({"rtsp_transport": "tcp"} if self._url.startswith("rtsp") else {})
        return av.open(self._url, options=options, timeout=(OPEN_S, READ_S))

    def _live(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[Picture]:
        """As it comes; what is late by far, because this machine cannot keep up, is not even converted."""
        clock = StreamClock()

        def hear(pts: int, samples: np.ndarray) -> None:
            if self.sound is not None:
                self.sound.write(Chunk(samples, clock.moment(pts)))

        for pts, frame in play(container, stream, self.info.fps, self.sound, hear):
            captured = time.monotonic_ns()
            if clock.late(pts, captured) < LATE_NS:
                yield Picture(upright(frame), captured, captured)

    def _file(
        self, container: av.container.InputContainer, stream: av.VideoStream, stop: threading.Event
    ) -> Iterator[Picture]:
        pace = Pace(stop)

        def hear(pts: int, samples: np.ndarray) -> None:
            if self.sound is not None:
                self.sound.write(Chunk(samples, pace.moment(pts)))

        for pts, frame in play(container, stream, self.info.fps, self.sound, hear):
            pace.wait(pts)
            image = upright(frame)
            captured = time.monotonic_ns()
            yield Picture(image, captured, captured)


class StreamClock:
    """How a live stream's own times lie on this machine's clock. Pure: the clock is passed in.

    The quickest picture so far defines the moment of all; it is forgotten slowly, as clocks differ a little.
    """

    FORGET_NS = 100_000  # with each picture

    def __init__(self) -> None:
        self._offset: int | None = None

    def late(self, pts: int, captured: int) -> int:
        """By how many ns a picture came later than the quickest ones."""
        sample = captured - pts
        self._offset = sample if self._offset is None else min(sample, self._offset + self.FORGET_NS)
        return sample - self._offset

    def moment(self, pts: int) -> int:
        """CLOCK_MONOTONIC ns of stream time `pts`."""
        return pts + (self._offset or 0)
