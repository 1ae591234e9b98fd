"""Sending: encoders for live pictures, a bitrate that follows the network calmly, no play-out delay in browsers."""

from __future__ import annotations

import functools
import time
from fractions import Fraction
from typing import Any, Protocol

import av
from aiortc import codecs, rtcrtpsender, rtp
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters, RTCRtpParameters
from av.video.frame import PictureType

from driftcam.webrtc.settings import Bitrates

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
NO_DELAY = b"\0\0\0"  # least and most: 12 bits each, in 10 ms
ONE_BYTE_HEADERS = 0xBEDE  # RFC 8285
NOTICEABLE = 0.1  # changes of the bitrate below this share are not worth it
RISE_EVERY, FALL_EVERY = 5.0, 1.0  # seconds
KEY_EVERY = 3000  # frames; receivers ask when they need one
FPS = 30
NVENC = {"preset": "p1", "tune": "ull", "rc": "cbr", "zerolatency": "1", "delay": "0", "forced-idr": "1", "bf": "0"}
X264 = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1", "sc_threshold": "0"}


def adjust_sending(bitrates: Bitrates) -> None:
    patched_sender: Any = rtcrtpsender
    patched_sender.get_encoder = functools.partial(get_encoder, bitrates)
    patched_rtp: Any = rtp
    patched_rtp.HeaderExtensionsMap = ExtensionsWithoutDelay
    known = codecs.HEADER_EXTENSIONS["video"]
    if not any(extension.uri == PLAYOUT_DELAY for extension in known):
        known.append(RTCRtpHeaderExtensionParameters(id=5, uri=PLAYOUT_DELAY))


class ExtensionsWithoutDelay(rtp.HeaderExtensionsMap):
    """Takes the place of `aiortc.rtp.HeaderExtensionsMap`: says in each video packet that it is shown at once."""

    def __init__(self) -> None:
        super().__init__()
        self._playout_delay: int | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == PLAYOUT_DELAY:
                self._playout_delay = extension.id

    def set(self, values: rtp.HeaderExtensions) -> tuple[int, bytes]:
        profile, packed = super().set(values)
        if not self._playout_delay or self._playout_delay > 14 or profile not in (0, ONE_BYTE_HEADERS):
            return profile, packed
        head = bytes([self._playout_delay << 4 | len(NO_DELAY) - 1]) + NO_DELAY
        return ONE_BYTE_HEADERS, head + packed  # four bytes: what follows stays aligned


def get_encoder(bitrates: Bitrates, codec: RTCRtpCodecParameters) -> Encoder:
    """Takes the place of `aiortc.codecs.get_encoder` in senders."""
    if codec.name == "VP8":
        return LiveVp8(bitrates)
    if codec.name == "H264":
        return LiveH264(bitrates)
    return codecs.get_encoder(codec)


class BitrateFollower:
    """When an encoder takes over a new target: falls soon, rises calmly, never for little. Pure."""

    def __init__(self, bitrates: Bitrates) -> None:
        self._bitrates = bitrates
        self.target = self.current = bitrates.start
        self._changed = float("-inf")

    def aim(self, bitrate: int) -> None:
        """What the receiver says the network carries."""
        self.target = max(self._bitrates.least, min(bitrate, self._bitrates.most))

    def follow(self, now: float) -> bool:
        """Whether `current` has become `target`."""
        patience = RISE_EVERY if self.target > self.current else FALL_EVERY
        if abs(self.target - self.current) <= NOTICEABLE * self.current or now - self._changed < patience:
            return False
        self.current, self._changed = self.target, now
        return True


class _Context(Protocol):
    """How a codec is opened and told a new bitrate."""

    def open(self, width: int, height: int, bitrate: int) -> av.VideoCodecContext: ...

    def take_bitrate(self, context: av.VideoCodecContext, bitrate: int) -> bool: ...


class _Live:
    """What the two encoders share: from a picture to one packet's bytes."""

    def __init__(self, bitrates: Bitrates, opener: _Context) -> None:
        self.bitrate = BitrateFollower(bitrates)
        self._opener = opener
        self._context: av.VideoCodecContext | None = None

    def encode(self, frame: av.VideoFrame, force_key: bool) -> bytes:
        frame = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
        context = self._context
        if context is not None and (context.width, context.height) != (frame.width, frame.height):
            context = None
        if self.bitrate.follow(time.monotonic()) and context is not None:
            context = context if self._opener.take_bitrate(context, self.bitrate.current) else None
        if context is None:
            context = self._context = self._opener.open(frame.width, frame.height, self.bitrate.current)
        frame.pict_type = PictureType.I if force_key else PictureType.NONE
        return b"".join(bytes(packet) for packet in context.encode(frame))


class LiveVp8(Vp8Encoder):
    """One thread, fastest setting: several threads wait for each other in busy loops on few cores."""

    def __init__(self, bitrates: Bitrates) -> None:
        super().__init__()
        self._live = _Live(bitrates, self)

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        data = self._live.encode(frame, force_keyframe)
        payloads = self._packetize(data, self.picture_id)
        self.picture_id = (self.picture_id + 1) % (1 << 15)
        return payloads, convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)

    @property
    def target_bitrate(self) -> int:
        return self._live.bitrate.target

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._live.bitrate.aim(bitrate)

    def open(self, width: int, height: int, bitrate: int) -> av.VideoCodecContext:
        context = _context("libvpx", width, height, bitrate)
        context.qmin, context.qmax = 2, 56
        context.thread_count = 1
        context.options = {
            "bufsize": str(bitrate),
            "minrate": str(bitrate),  # equal to the others: constant bitrate
            "maxrate": str(bitrate),
            "cpu-used": "-12",
            "deadline": "realtime",
            "lag-in-frames": "0",
            "noise-sensitivity": "0",
            "overshoot-pct": "15",
            "undershoot-pct": "100",
            "partitions": "0",
            "static-thresh": "1",
        }
        return context

    def take_bitrate(self, context: av.VideoCodecContext, bitrate: int) -> bool:
        return False  # FFmpeg's libvpx wants to be opened again


class LiveH264(H264Encoder):
    """NVENC where it works, else x264 without anything that waits for later frames."""

    def __init__(self, bitrates: Bitrates) -> None:
        super().__init__()
        self._live = _Live(bitrates, self)

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        data = self._live.encode(frame, force_keyframe)
        payloads = self._packetize(self._split_bitstream(data)) if data else []
        return payloads, convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)

    @property
    def target_bitrate(self) -> int:
        return self._live.bitrate.target

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._live.bitrate.aim(bitrate)

    def open(self, width: int, height: int, bitrate: int) -> av.VideoCodecContext:
        name = h264_encoder()
        context = _context(name, width, height, bitrate)
        limits = {"maxrate": str(bitrate), "bufsize": str(bitrate // 2)}
        context.options = (NVENC | limits) if name == "h264_nvenc" else X264
        return context

    def take_bitrate(self, context: av.VideoCodecContext, bitrate: int) -> bool:
        if context.name != "libx264":
            return False
        context.bit_rate = bitrate  # looked at before every frame
        return True


def _context(name: str, width: int, height: int, bitrate: int) -> av.VideoCodecContext:
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.bit_rate, context.gop_size = bitrate, KEY_EVERY
    context.framerate, context.time_base = Fraction(FPS), VIDEO_TIME_BASE
    return context


@functools.cache
def h264_encoder() -> str:
    """FFmpeg's name of the encoder that is used here; blocks for a moment the first time."""
    try:
        context = _context("h264_nvenc", 320, 192, 1_000_000)
        context.options = NVENC
        frame = av.VideoFrame(320, 192, "yuv420p")
        frame.pts = 0
        if [*context.encode(frame), *context.encode(None)]:
            return "h264_nvenc"
    except (av.FFmpegError, OSError, ValueError):
        pass
    return "libx264"
