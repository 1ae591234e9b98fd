"""A server with pass-through streams, and aiortc as an independent client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import aiohttp
import av
import numpy as np
import pytest_asyncio
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack

from driftcam.webrtc.http import SDP, operations
from driftcam.webrtc.operation import Refused, route
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.settings import Settings
from driftcam.webrtc.stream import Listener

SIZE = (160, 96)


class PassThrough:
    """A stream whose results are its frames, in negative.

    Each takes `delay` seconds, one after the other, the newest frame wins; results are shown `lag` seconds after that.
    """

    def __init__(self, delay: float = 0.0, lag: float = 0.0) -> None:
        self.delay, self.lag = delay, lag
        self.frames = 0
        self.members = 0
        self.listeners: set[Listener] = set()
        self.heard: list[tuple[np.ndarray, int]] = []
        self.ages: list[float] = []  # ms from capture to result
        self._waiting: tuple[np.ndarray, int] | None = None
        self._working = False

    def offer(self, image: np.ndarray, captured: int) -> bool:
        self.frames += 1
        self._waiting = image, captured
        if not self._working:
            self._work()
        return True

    def _work(self) -> None:
        if self._waiting is None:
            self._working = False
            return
        (image, captured), self._waiting, self._working = self._waiting, None, True
        asyncio.get_running_loop().call_later(self.delay, self._done, image, captured)

    def _done(self, image: np.ndarray, captured: int) -> None:
        asyncio.get_running_loop().call_later(self.lag, self._show, image, captured)
        self._work()

    def _show(self, image: np.ndarray, captured: int) -> None:
        self.ages.append((time.monotonic_ns() - captured) / 1e6)
        for listener in list(self.listeners):
            listener(255 - image, captured)

    def hear(self, samples: np.ndarray, captured: int) -> None:
        self.heard.append((samples, captured))

    def listen(self, listener: Listener) -> Callable[[], None]:
        self.listeners.add(listener)
        return lambda: self.listeners.discard(listener)

    async def leave(self) -> None:
        self.members -= 1


class Streams:
    """`live` alone."""

    def __init__(self, stream: PassThrough) -> None:
        self.stream = stream

    async def join(self, name: str, *, publishes: bool) -> PassThrough:
        if name != "live":
            raise Refused(404, f"there is no session {name!r}")
        self.stream.members += 1
        return self.stream


@dataclass
class Server:
    """What tests look at."""

    address: str
    peers: Peers
    stream: PassThrough
    session: aiohttp.ClientSession

    async def until(self, condition: Callable[[], bool], timeout: float = 15.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(settings: Settings | None = None, delay: float = 0.0, lag: float = 0.0) -> AsyncIterator[Server]:
    stream = PassThrough(delay, lag)
    peers = Peers(Streams(stream), settings or Settings())
    app = web.Application()
    route(app, operations(peers))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        try:
            yield Server(address, peers, stream, session)
        finally:
            await peers.close()
            await runner.cleanup()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as server:
        yield server


class Camera(MediaStreamTrack):
    """Even pictures of a brightness that can be changed, 30 a second, a small moving square on each."""

    kind = "video"

    def __init__(self, size: tuple[int, int] = SIZE, fps: int = 30) -> None:
        super().__init__()
        self.size, self.fps, self.grey = size, fps, 60
        self._start: float | None = None
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        self._start = time.monotonic() if self._start is None else self._start
        self._count += 1
        await asyncio.sleep(max(0.0, self._start + self._count / self.fps - time.monotonic()))
        width, height = self.size
        image = np.full((height, width, 3), self.grey, np.uint8)
        x = self._count * 2 % (width - 8)
        image[:8, x : x + 8] = 200
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._count * 90_000 // self.fps, Fraction(1, 90_000)
        return frame


@dataclass
class Client:
    """One aiortc connection over WHIP, WHEP or both."""

    server: Server
    role: str
    camera: Camera | None = None
    microphone: MediaStreamTrack | None = None
    codec: str | None = None
    connection: RTCPeerConnection = field(default_factory=lambda: RTCPeerConnection(RTCConfiguration(iceServers=[])))
    location: str = ""
    etag: str = ""
    greys: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    sounds: list[tuple[float, int]] = field(default_factory=list)
    reading: list[asyncio.Task] = field(default_factory=list)

    async def connect(self, name: str = "live") -> Client:
        receives, sends = self.role in ("whep", "api/peers"), self.role in ("whip", "api/peers")
        direction = "sendrecv" if receives and sends else "sendonly" if sends else "recvonly"
        video = self.connection.addTransceiver(self.camera or "video", direction)
        if self.codec is not None:
            known = video.sender.getCapabilities("video").codecs
            video.setCodecPreferences([c for c in known if c.name in (self.codec, "rtx")])
        if self.microphone is not None or receives:
            self.connection.addTransceiver(self.microphone or "audio", direction)
        self.connection.on("track", lambda track: self.reading.append(asyncio.create_task(self._read(track))))
        await self.connection.setLocalDescription(await self.connection.createOffer())
        status, answer, headers = await self.post(self.connection.localDescription.sdp, name)
        assert status == 201, answer
        self.location, self.etag = headers["Location"], headers["ETag"]
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return self

    async def post(self, offer: str, name: str = "live") -> tuple[int, str, Mapping[str, str]]:
        url, headers = f"{self.server.address}/{self.role}/{name}", {"Content-Type": SDP}
        async with self.server.session.post(url, data=offer, headers=headers) as response:
            return response.status, await response.text(), response.headers

    async def _read(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if isinstance(frame, av.VideoFrame):
                    image = frame.to_ndarray(format="gray")
                    self.greys.append(float(np.median(image)))
                    self.times.append(time.monotonic())
                    self.sizes.append((frame.width, frame.height))
                else:
                    self.sounds.append((time.monotonic(), int(np.abs(frame.to_ndarray()).max())))

    async def delete(self) -> int:
        async with self.server.session.delete(self.server.address + self.location) as response:
            return response.status

    async def close(self) -> None:
        await self.connection.close()
        for task in self.reading:
            task.cancel()
        await asyncio.gather(*self.reading, return_exceptions=True)

    def vanish(self) -> None:
        """Gone without a word: nothing is sent or read any more."""
        for transceiver in self.connection.getTransceivers():
            ice = transceiver.receiver.transport.transport._connection
            for protocol in ice._protocols:
                protocol.transport.abort()


@pytest_asyncio.fixture
async def client(server: Server) -> AsyncIterator[Callable[..., Client]]:
    """Makes clients; closes them at the end."""
    made: list[Client] = []

    def make(role: str, **options: object) -> Client:
        made.append(Client(server, role, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        await each.close()


class Voice(AudioStreamTrack):
    """Silence with a loud tone in the pieces for which `loud` says so."""

    def __init__(self, loud: Callable[[], bool]) -> None:
        super().__init__()
        self._loud = loud

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        if self._loud():
            wave = (np.sin(np.arange(frame.samples) * 0.6) * 20_000).astype(np.int16)
            frame.planes[0].update(wave.tobytes())
        return frame
