"""A stream or a file at an address: RTSP and HTTP cameras, MPEG-TS over UDP, HLS, files over HTTP."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import av
import numpy as np

from driftcam.daemon.config.specs import without_login
from driftcam.daemon.frames import Picture
from driftcam.daemon.measure import Patience
from driftcam.daemon.sound import RATE, Chunk, Sound
from driftcam.daemon.sources import SourceInfo
from driftcam.daemon.sources.media import (
    EARLY_SOUNDS,
    decoded,
    frame_rate,
    hear_all,
    in_ns,
    pieces,
    reason,
    stamp_of,
)
from driftcam.daemon.sources.reception import Reception
from driftcam.daemon.sources.ways import AsItComes, AtOwnSpeed, Way
from driftcam.engines.api import ParameterError
from driftcam.webrtc.shown import Shown

OPEN_S, READ_S = 10.0, 5.0  # patience with whoever does not answer, or falls silent
RETRY_S, RETRY_MOST_S = 0.25, 1.0
# A playlist or a redirection from outside must not open files of this machine.
PROTOCOLS = "http,https,tcp,tls,udp,rtp,rtsp,srt,hls,crypto,httpproxy"
OPTIONS = {"protocol_whitelist": PROTOCOLS, "live_start_index": "-1", "merge_pmt_versions": "1"}
# In µs of the stream: an unknown one is looked at for longer than one that was here before.
LOOK_FIRST, LOOK_AGAIN = "500000", "200000"


class UrlSource:
    """Opened again whenever it ends or breaks. What has an end (a file) is played at its own speed.

    A live stream is shown as it comes. The connection whose first picture was the check on opening goes on.
    """

    def __init__(self, url: str, notify: Callable[[str], None], stop: threading.Event | None = None) -> None:
        self._url, self._notify, self._stop = url, notify, stop or threading.Event()
        self._name = without_login(url)
        self._format: str | None = None  # as it was recognised the last time
        self._patience = Patience(READ_S)
        self.sound: Sound | None = None
        self._reception = Reception(self._connect, self._name)
        pictures = self._pictures(self._reception)
        try:
            first = next(pictures)
        except (av.FFmpegError, OSError, EOFError, StopIteration) as error:
            raise ParameterError("source", self._name, f"it cannot be played ({reason(error)})") from None
        finally:
            if self._format is None:
                self.close()
        height, width = first.image.shape[:2]
        self.sound = Sound() if self._reception.audio is not None else None
        self.info = SourceInfo(width, height, frame_rate(self._reception.video), None, waits=False)
        self._begun: Iterator[Picture] | None = itertools.chain([first], pictures)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        self._stop = stop
        failures, lost, count = 0, False, 0
        while not stop.is_set():
            before = count
            try:
                for picture in self._connection():
                    if lost:
                        self._notify(f"{self._name}: it is back")
                    failures, lost = 0, False
                    count += 1
                    yield picture
                return
            except (av.FFmpegError, OSError, EOFError, ParameterError, LookupError) as error:
                if self._reception.ends and count > before:  # a file, from the beginning
                    continue
                why = reason(error)
            finally:
                self.close()
            if count == before:
                self._format = None  # it may be another one now
            if not lost:
                self._notify(f"{self._name}: nothing comes any more ({why}); connecting again")
                lost = True
            stop.wait(min(RETRY_S * 2**failures, RETRY_MOST_S))
            failures += 1

    def close(self) -> None:
        self._reception.close()

    def _connection(self) -> Iterator[Picture]:
        """The one that is there from opening, or a new one."""
        begun, self._begun = self._begun, None
        if begun is None:
            self._reception = Reception(self._connect, self._name)
            begun = self._pictures(self._reception)
        return begun

    def _connect(self) -> av.container.InputContainer:
        """In the thread of the reception."""
        options = OPTIONS | {"analyzeduration": LOOK_FIRST if self._format is None else LOOK_AGAIN}
        if self._url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        timeout = (OPEN_S, self._patience.seconds)
        return av.open(self._url, "r", format=self._format, options=options, timeout=timeout)

    def _pictures(self, reception: Reception) -> Iterator[Picture]:
        """Of one connection, each when it is due. Ends when stopped, raises when nothing comes any more."""
        reception.opened(self._stop)
        way: Way = AsItComes(reception)
        shown = Shown(reception.video.sample_aspect_ratio)
        resampler = av.AudioResampler("fltp", "stereo", RATE)
        early: deque[tuple[int, np.ndarray]] = deque(maxlen=EARLY_SOUNDS)
        silent = time.monotonic() + self._patience.seconds + 1  # reading is given up before
        while (arrival := reception.take(self._stop, silent)) is not None:
            if reception.ends and isinstance(way, AsItComes):
                way = AtOwnSpeed(reception)
            packet, at = arrival
            if packet.stream is reception.audio:
                if packet.pts is not None and packet.time_base is not None:
                    way.packet(in_ns(packet.pts, packet.time_base))
                if self.sound is None or not self.sound.wanted:
                    continue
            for frame in decoded(packet):
                if isinstance(frame, av.AudioFrame):
                    early += pieces(resampler, frame)
                    hear_all(early, way.sound, self._hear)
                elif isinstance(frame, av.VideoFrame):
                    self._format = reception.format
                    due = way.picture(stamp_of(frame), at)
                    hear_all(early, way.sound, self._hear)
                    if due is not None:
                        self._stop.wait(max(0, due - time.monotonic_ns()) / 1e9)
                        image = shown(frame)
                        captured = time.monotonic_ns()
                        self._patience.came(captured / 1e9)
                        yield Picture(image, captured, captured)
                    silent = time.monotonic() + self._patience.seconds + 1
                if self._stop.is_set():
                    return
        if not self._stop.is_set():
            raise TimeoutError(f"no picture for {self._patience.seconds:g} s")

    def _hear(self, moment: int, samples: np.ndarray) -> None:
        if self.sound is not None:
            self.sound.write(Chunk(samples, moment))
