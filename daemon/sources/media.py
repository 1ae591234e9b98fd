"""Pictures and sound out of what FFmpeg opens: shared by files and addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av
import numpy as np

from driftcam.daemon.sound import RATE, Sound
from driftcam.engines.api import ParameterError

DEFAULT_FPS = 25.0
EARLY_SOUNDS = 200  # frames of sound before the first picture that are kept for it

Hear = Callable[[int, np.ndarray], None]


def video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The first stream of moving pictures; the cover of an audio file is none. Raises `ParameterError`."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            stream.thread_type = "AUTO"
            return stream
    raise ParameterError("source", name, "it has sound but no video" if container.streams.audio else "it has no video")


def frame_rate(stream: av.VideoStream) -> float:
    """Frames a second, as far as the stream says."""
    return float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)


def play(
    container: av.container.InputContainer, stream: av.VideoStream, fps: float, sound: Sound | None, hear: Hear
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Time in ns since the first picture, and picture. Single damaged packets are skipped.

    Meanwhile `hear` is called with time on the same axis and samples, (CHANNELS, n) float32 at RATE, as long as `sound`
    has readers.
    """
    audio = next(iter(container.streams.audio), None) if sound is not None else None
    resampler = av.AudioResampler("fltp", "stereo", RATE)
    early: list[tuple[int, np.ndarray]] = []
    first: int | None = None
    number = 0
    for packet in container.demux([stream, audio] if audio is not None else [stream]):
        if packet.stream is audio and not (sound is not None and sound.wanted):
            continue
        for frame in _decoded(packet):
            if isinstance(frame, av.AudioFrame):
                pieces = _pieces(resampler, frame)
                if first is not None:
                    for heard, samples in pieces:
                        hear(heard - first, samples)
                elif len(early) < EARLY_SOUNDS:
                    early += pieces
            elif isinstance(frame, av.VideoFrame):
                stamp = _time(frame)
                time = round(number * 1e9 / fps) if stamp is None else stamp
                if first is None:
                    first = time
                    for heard, samples in early:
                        hear(heard - first, samples)
                number += 1
                yield time - first, frame


def upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB (H, W, 3), as a player shows it."""
    image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _decoded(packet: av.Packet) -> list:
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []


def _pieces(resampler: av.AudioResampler, frame: av.AudioFrame) -> list[tuple[int, np.ndarray]]:
    pieces = ((_time(piece), piece) for piece in resampler.resample(frame))
    return [(time, piece.to_ndarray()) for time, piece in pieces if time is not None]


def _time(frame: av.VideoFrame | av.AudioFrame) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return int(frame.pts * frame.time_base * 1_000_000_000)
