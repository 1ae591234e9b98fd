"""Which H.264 encoder writes a file: the hardware's where there is one that works, or software."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

import av


@dataclass(frozen=True)
class Encoder:
    """FFmpeg's name of an encoder, the pixel format it takes and the options for good quality in real time."""

    name: str
    pix_fmt: str
    options: tuple[tuple[str, str], ...]


# VA-API is missing: its encoder takes pictures in the card's memory only, which PyAV cannot put there.
HARDWARE = (
    Encoder("h264_nvenc", "yuv420p", (("preset", "p4"), ("rc", "constqp"), ("qp", "20"))),
    Encoder("h264_qsv", "nv12", (("preset", "faster"), ("global_quality", "20"))),
    Encoder("h264_amf", "nv12", (("quality", "balanced"), ("rc", "cqp"), ("qp_i", "20"), ("qp_p", "20"))),
)
SOFTWARE = (  # not every FFmpeg is built with x264
    Encoder("libx264", "yuv420p", (("preset", "veryfast"), ("crf", "18"))),
    Encoder("libopenh264", "yuv420p", (("b", "8000000"),)),
    Encoder("mpeg4", "yuv420p", (("q", "3"),)),
)


def software_encoder() -> Encoder:
    return next(encoder for encoder in SOFTWARE if encoder.name in av.codecs_available)


@functools.cache
def best_encoder(width: int, height: int) -> Encoder:
    """Hardware that has just encoded a picture of this size, else software. Blocks for a moment the first time."""
    return next((encoder for encoder in HARDWARE if _works(encoder, width, height)), software_encoder())


def _works(encoder: Encoder, width: int, height: int) -> bool:
    if encoder.name not in av.codecs_available:
        return False
    try:
        context = av.CodecContext.create(encoder.name, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, encoder.pix_fmt
        context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
        context.options = dict(encoder.options)
        frame = av.VideoFrame(width, height, encoder.pix_fmt)
        frame.pts = 0
        return bool([*context.encode(frame), *context.encode(None)])
    except (av.FFmpegError, OSError, ValueError):
        return False
