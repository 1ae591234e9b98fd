"""Writing H.264 into a fragmented MP4, which plays up to the last whole fragment however the writing ends."""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from driftcam.daemon.sinks.encoders import Encoder, software_encoder
from driftcam.daemon.sinks.soundtrack import SoundTrack
from driftcam.daemon.sound import SoundFeed

TIME_BASE = Fraction(1, 90_000)
FRAGMENT_US = 500_000
BT709 = 1


class _Output:
    """The file as FFmpeg sees it: the first write error is kept, for FFmpeg hides it until the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest and self.failure is None:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.failure = error
        return len(data)


class Mp4Writer:
    """Encodes pictures of one size, and sound, into `file`, an unbuffered file that stays the caller's.

    Raises `OSError` from `add` and `close` when the file cannot be written.
    """

    def __init__(
        self,
        file: BinaryIO,
        width: int,
        height: int,
        fps: float,
        *,
        encoder: Encoder | None = None,
        sound: SoundFeed | None = None,
    ) -> None:
        self._output = _Output(file)
        movflags = "frag_keyframe+empty_moov+default_base_moof+delay_moov"
        options = {"movflags": movflags, "frag_duration": str(FRAGMENT_US), "flush_packets": "1"}
        self._container = av.open(self._output, "w", format="mp4", options=options)
        rate = Fraction(fps).limit_denominator(1001)
        encoder = encoder or software_encoder()
        stream = self._container.add_stream(encoder.name, rate=rate, options=dict(encoder.options))
        assert isinstance(stream, av.VideoStream)
        self._stream, context = stream, stream.codec_context
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = encoder.pix_fmt
        context.time_base, context.gop_size, context.max_b_frames = TIME_BASE, max(1, round(fps)), 0
        context.color_range, context.colorspace = ColorRange.MPEG, BT709
        context.color_primaries = context.color_trc = BT709
        self._sound = SoundTrack(self._container, sound) if sound is not None else None
        self._period = round(1e9 / fps)
        self._first: int | None = None
        self._newest = 0
        self._last = -1

    def add(self, image: np.ndarray, pts: int) -> None:
        """One RGB picture; `pts` in ns, rising."""
        self._first = pts if self._first is None else self._first
        self._newest = pts
        if self._sound is not None:
            self._container.mux(self._sound.packets(pts))
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        self._last = max(self._last + 1, round((pts - self._first) * 9 / 100_000))
        frame.pts, frame.time_base = self._last, TIME_BASE
        self._container.mux(self._stream.encode(frame))
        self._check()

    def close(self) -> None:
        """The last pictures and sounds, and the end of the file."""
        try:
            if self._output.failure is None:
                if self._sound is not None and self._first is not None:
                    self._container.mux(self._sound.rest(self._newest + self._period))
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
        self._check()

    def _check(self) -> None:
        if self._output.failure is not None:
            raise self._output.failure


def cut_to_whole_fragments(file: BinaryIO) -> None:
    """Cut what a failed write left behind the last whole fragment of a regular file."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return
    end = os.fstat(file.fileno()).st_size
    position = whole = 0
    while position + 8 <= end:
        head = os.pread(file.fileno(), 8, position)
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if size < 8 or position + size > end:
            break
        position += size
        if kind != b"moof":  # a moof counts only together with the mdat behind it
            whole = position
    os.ftruncate(file.fileno(), whole)
