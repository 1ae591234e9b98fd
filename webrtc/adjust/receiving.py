"""Receiving: frames leave the jitter buffer early, loss is recovered from, and the decoder never falls behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from typing import Any

import av
from aiortc import rtcrtpreceiver
from aiortc.codecs import get_decoder

from driftcam.webrtc.adjust.jitter import JitterBuffer, RetryingNack, is_key

MOST_WAITING = 30  # encoded frames; what is more is dropped up to the next key frame
logger = logging.getLogger(__name__)


def adjust_receiving() -> None:
    receiver: Any = rtcrtpreceiver
    receiver.JitterBuffer = JitterBuffer
    receiver.NackGenerator = RetryingNack
    receiver.decoder_worker = decode


def decode(
    loop: asyncio.AbstractEventLoop, waiting: queue.Queue, pictures: asyncio.Queue, decode_error: threading.Event
) -> None:
    """Takes the place of `aiortc.rtcrtpreceiver.decoder_worker`: the thread of one receiver.

    Of video frames that became complete together only the newest picture is given on, of sound all. `decode_error`
    makes the receiver ask for a key frame.
    """
    name, decoder, dropping = "", None, False
    while (task := waiting.get()) is not None:
        codec, first = task
        is_video = codec.mimeType.startswith("video/")
        if is_video and (waiting.qsize() > MOST_WAITING or dropping):
            dropping = not is_key(first.data) or waiting.qsize() > MOST_WAITING
            if dropping:
                decode_error.set()
                continue
        if decoder is None or codec.name != name:
            decoder, name = get_decoder(codec), codec.name
        decoded = []
        origin = first.timestamp
        for frame in (first, *first.later):
            if frame is not first:
                # Timestamps were counted from the stream's start for the first frame only.
                frame.timestamp = origin + (frame.timestamp - first.rtp_timestamp) % (1 << 32)
            try:
                decoded += decoder.decode(frame)
            except (av.FFmpegError, ValueError) as error:
                logger.info("a %s frame could not be decoded: %s", codec.name, error)
                decode_error.set()
            except Exception:
                logger.exception("decoding a %s frame failed", codec.name)
                decode_error.set()
        for picture in decoded[-1:] if is_video else decoded:
            _put(loop, pictures, picture)
    _put(loop, pictures, None)


def _put(loop: asyncio.AbstractEventLoop, pictures: asyncio.Queue, picture: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(pictures.put_nowait, picture)
