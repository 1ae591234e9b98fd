"""Our own mistakes while pictures come in: they are logged, and the peer ends or goes on; none is frozen in silence."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from driftcam.webrtc import video
from driftcam.webrtc.adjust import receiving
from tests.webrtc.conftest import Camera, Client, Server


async def test_a_picture_that_cannot_be_converted_ends_the_peer_with_words(
    client: Callable[..., Client],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Mistaken:
        def __init__(self, **options: object) -> None: ...

        def __call__(self, frame: object) -> None:
            raise TypeError("a mistake")

    monkeypatch.setattr(video, "Shown", Mistaken)
    sender = await client("whip", camera=Camera()).connect()
    await server.until(lambda: server.stream.members == 0)
    async with server.session.get(server.address + sender.location) as response:
        assert response.status == 410 and "an error here" in (await response.json())["message"]
    assert "a mistake" in caplog.text


async def test_a_frame_over_which_the_decoder_stumbles_does_not_end_its_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Decoder:
        def decode(self, frame: SimpleNamespace) -> list[str]:
            if frame.data == b"bad":
                raise KeyError("a mistake")
            return ["a picture"]

    monkeypatch.setattr(receiving, "get_decoder", lambda codec: Decoder())
    codec, waiting, pictures = SimpleNamespace(mimeType="video/VP8", name="VP8"), queue.Queue(), asyncio.Queue()
    failed = threading.Event()
    for data in (b"bad", b"good"):
        waiting.put((codec, SimpleNamespace(data=data, later=(), timestamp=0, rtp_timestamp=0)))
    waiting.put(None)
    await asyncio.to_thread(receiving.decode, asyncio.get_running_loop(), waiting, pictures, failed)
    assert await pictures.get() == "a picture" and failed.is_set()
    assert "decoding a VP8 frame failed" in caplog.text
