"""Cameras that misbehave: they send made pictures over a network, at any rate, with any times, and go away at will."""

from __future__ import annotations

import contextlib
import io
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import cv2
import numpy as np

KINDS = ("mjpeg", "h264", "ts-tcp", "ts-http", "ts-udp")
"""MJPEG over HTTP, raw H.264 over TCP, MPEG-TS over TCP, HTTP and UDP."""
SIZES = ((96, 64), (160, 120), (320, 240))
BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
DATAGRAM = 1316


class Sender:
    """Sends from `start` to `stop`, from a thread of its own; may be started again.

    Attributes:
        fps, size, speed: of the pictures; `speed` is that of their times, as a multiple of the clock's.
        silent: it stays connected and sends nothing.
        holding: what it would send is kept, and sent at once when that ends.
        spoiled: share of what it sends that is damaged or lost.
        sent: pictures so far.
    """

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.kind, self._rng = kind, rng
        self.fps, self.size, self.speed = 25.0, SIZES[0], 1.0
        self.silent = self.holding = False
        self.spoiled = 0.0
        self.sent = 0
        self._kept: list[bytes] = []
        self._port = _free_port(socket.SOCK_DGRAM if kind == "ts-udp" else socket.SOCK_STREAM)
        self._running = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._stamp = 0  # where the times of the next muxer begin, in s
        self._encoder: _Encoder | None = None

    @property
    def address(self) -> str:
        scheme = {"mjpeg": "http", "h264": "tcp"}.get(self.kind, self.kind.removeprefix("ts-"))
        return f"{scheme}://127.0.0.1:{self._port}" + ("/cam" if scheme == "http" else "")

    def start(self) -> None:
        self._running.set()
        self._encoder = None
        if self.kind == "ts-udp":
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.connect(("127.0.0.1", self._port))
            self._connections.append(sender)
            loops = [self._send]
        else:
            self._server = socket.create_server(("127.0.0.1", self._port))
            self._server.settimeout(0.1)
            loops = [self._accept, self._send]
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._running.clear()
        for thread in self._threads:
            thread.join(10)
        self._drop_all()
        self._kept.clear()

    def jump(self, seconds: float) -> None:
        """Its times go on from another moment."""
        self._stamp = max(0, self._stamp + round(seconds))
        self._encoder = None

    def resize(self, size: tuple[int, int]) -> None:
        self.size = size
        self._encoder = None

    # -------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with self._server:
            while self._running.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = self._server.accept()
                    connection.settimeout(1)
                    if self.address.startswith("http"):
                        connection.recv(4096)
                        kind = b"multipart/x-mixed-replace; boundary=frame" if self.kind == "mjpeg" else b"video/mp2t"
                        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
                    self._connections.append(connection)

    def _send(self) -> None:
        due = time.monotonic()
        while self._running.is_set():
            due = max(due + 1 / self.fps, time.monotonic() - 0.2)
            time.sleep(max(0, due - time.monotonic()))
            encoder = self._encoder
            if encoder is None:
                encoder = self._encoder = _Encoder(self.kind, self.size, self.fps, self.speed, self._stamp)
            data = encoder.next()
            if self._rng.random() < self.spoiled:
                data = _spoil(data, self._rng)
            if self.silent:
                continue
            self.sent += 1
            self._kept.append(data)
            if not self.holding:
                kept, self._kept = b"".join(self._kept), []
                self._give(kept)

    def _give(self, data: bytes) -> None:
        step = DATAGRAM if self.kind == "ts-udp" else max(1, len(data))
        for connection in list(self._connections):
            try:
                for start in range(0, len(data), step):
                    connection.sendall(data[start : start + step])
            except ConnectionRefusedError:  # nobody listens to the datagrams at the moment
                pass
            except OSError:
                self._connections.remove(connection)
                connection.close()

    def _drop_all(self) -> None:
        while self._connections:
            self._connections.pop().close()


class _Encoder:
    """Pictures one after another as bytes; what begins here can be decoded from its first byte on."""

    def __init__(self, kind: str, size: tuple[int, int], fps: float, speed: float, stamp: int) -> None:
        self._kind, self._size, self._number = kind, size, 0
        self._step = max(1, round(90_000 * speed / fps))
        self._output = io.BytesIO()
        if kind == "mjpeg":
            return
        options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "annexb=1:repeat-headers=1"}
        rate = Fraction(fps).limit_denominator(1000)
        if kind == "h264":
            codec = av.CodecContext.create("libx264", "w")
            assert isinstance(codec, av.VideoCodecContext)
            self._codec, codec.options = codec, options
        else:
            muxing = {"output_ts_offset": str(stamp), "flush_packets": "1"}
            self._container = av.open(self._output, "w", format="mpegts", options=muxing)
            self._stream = self._container.add_stream("libx264", rate=rate, options=options)
            assert isinstance(self._stream, av.VideoStream)
            codec = self._stream.codec_context
        codec.width, codec.height, codec.pix_fmt = *size, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, 90_000), rate
        codec.gop_size = max(1, round(fps / 2))  # decoding can begin twice a second

    def next(self) -> bytes:
        width, height = self._size
        image = np.full((height, width, 3), 40 + self._number * 7 % 180, np.uint8)
        image[: height // 2, : width // 2] = np.random.default_rng(self._number).integers(0, 256, 3, np.uint8)
        self._number += 1
        if self._kind == "mjpeg":
            data = cv2.imencode(".jpg", image)[1].tobytes()
            return BOUNDARY % len(data) + data + b"\r\n"
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._number * self._step, Fraction(1, 90_000)
        if self._kind == "h264":
            return b"".join(bytes(packet) for packet in self._codec.encode(frame))
        self._container.mux(self._stream.encode(frame))
        data = self._output.getvalue()
        self._output.seek(0)
        self._output.truncate()
        return data


def _spoil(data: bytes, rng: random.Random) -> bytes:
    """Cut, with a hole, or with other bits."""
    if not data:
        return data
    start = rng.randrange(len(data))
    match rng.randrange(3):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[start + rng.randrange(1, 500) :]
        case _:
            junk = rng.randbytes(rng.randrange(1, 200))
            return data[:start] + junk + data[start + len(junk) :]


@contextmanager
def sending(kind: str, rng: random.Random) -> Iterator[Sender]:
    """A sender that sends."""
    sender = Sender(kind, rng)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
