"""Pictures and sound out of what FFmpeg opens: shared by files and addresses."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal

import av
import numpy as np

from driftcam.daemon.sound import RATE, Sound
from driftcam.daemon.sources.times import SECOND, Timeline
from driftcam.engines.api import ParameterError

DEFAULT_FPS = 25.0
EARLY_SOUNDS = 200  # frames of sound before the first picture, or before it jumps with them, that are kept for it
# Longer without a picture and without sound is a jump of the times: in what may be joined, and in other files.
JUMPS_NS, STILL_NS = 10 * SECOND, 60 * SECOND
NO_TIMES, MAY_JUMP = 0x0080, 0x0200  # AVFMT_NOTIMESTAMPS and AVFMT_TS_DISCONT of FFmpeg's formats

Hear = Callable[[int, np.ndarray], None]


def video_stream(
    container: av.container.InputContainer, name: str, threads: Literal["AUTO", "SLICE"] = "AUTO"
) -> av.VideoStream:
    """The first stream of moving pictures; the cover of an audio file is none. Raises `ParameterError`.

    `threads`: several pictures are decoded at once, which is quick, or parts of one, which is no picture late.
    """
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            stream.thread_type = threads
            return stream
    raise ParameterError("source", name, "it has sound but no video" if container.streams.audio else "it has no video")


def frame_rate(stream: av.VideoStream) -> float:
    """Frames a second, as far as the stream says."""
    return float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)


def longest_gap(container: av.container.InputContainer) -> int:
    """The most ns between two pictures that a container is believed."""
    return JUMPS_NS if container.format.flags & MAY_JUMP else STILL_NS


def play(
    container: av.container.InputContainer, stream: av.VideoStream, fps: float, sound: Sound | None, hear: Hear
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Time in ns since the first picture, as `Timeline` has it, and picture. Damaged packets are skipped.

    Meanwhile `hear` is called with time on the same axis and samples, (CHANNELS, n) float32 at RATE, as long as `sound`
    has readers.
    """
    audio = next(iter(container.streams.audio), None)
    times = Timeline(round(1e9 / fps), longest_gap(container))
    resampler = av.AudioResampler("fltp", "stereo", RATE)
    early: deque[tuple[int, np.ndarray]] = deque(maxlen=EARLY_SOUNDS)
    for packet in container.demux([stream, audio] if audio is not None else [stream]):
        if packet.stream is audio:
            if packet.pts is not None and packet.time_base is not None:
                times.packet(in_ns(packet.pts, packet.time_base))
            if sound is None or not sound.wanted:
                continue
        for frame in decoded(packet):
            if isinstance(frame, av.AudioFrame):
                early += pieces(resampler, frame)
                hear_all(early, times.sound, hear)
            elif isinstance(frame, av.VideoFrame):
                time = times.picture(stamp_of(frame))
                hear_all(early, times.sound, hear)
                yield time, frame


def hear_all(waiting: deque[tuple[int, np.ndarray]], place: Callable[[int], int | None], hear: Hear) -> None:
    """In order; what `place` has no time for yet goes on waiting."""
    while waiting and (time := place(waiting[0][0])) is not None:
        hear(time, waiting.popleft()[1])


def reason(error: Exception) -> str:
    """In words."""
    if isinstance(error, av.error.ExitError):  # what FFmpeg says where its patience ends
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def decoded(packet: av.Packet) -> list:
    """The frames in it; none where it is damaged."""
    try:
        return packet.decode()
    except av.FFmpegError:
        return []


def pieces(resampler: av.AudioResampler, frame: av.AudioFrame) -> list[tuple[int, np.ndarray]]:
    """Stamp in ns and samples, (CHANNELS, n) float32 at RATE, of a frame of sound."""
    stamped = ((stamp_of(piece), piece) for piece in resampler.resample(frame))
    return [(stamp, piece.to_ndarray()) for stamp, piece in stamped if stamp is not None]


def stamp_of(frame: av.VideoFrame | av.AudioFrame) -> int | None:
    """A frame's own time in ns, None where it has none."""
    return None if frame.pts is None or frame.time_base is None else in_ns(frame.pts, frame.time_base)


def in_ns(time: int, base: Fraction) -> int:
    return int(time * base * 1_000_000_000)
