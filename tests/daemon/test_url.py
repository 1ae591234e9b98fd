"""Streams over the network, from a real sender that comes and goes."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from driftcam.daemon.sound import Chunk
from driftcam.daemon.sources import url
from driftcam.daemon.sources.url import UrlSource
from driftcam.daemon.sources.ways import StreamClock
from driftcam.engines.api import ParameterError

FPS = 25


class Sender:
    """MPEG-TS over UDP: grey pictures in real time, until it is ended."""

    def __init__(self, address: str, brightness: int) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, args=[address, brightness], daemon=True)
        self._thread.start()

    def _send(self, address: str, brightness: int) -> None:
        with av.open(address, "w", format="mpegts") as container:
            options = {"preset": "ultrafast", "tune": "zerolatency"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            stream.codec_context.gop_size = 5
            number = 0
            while not self._stop.wait(1 / FPS):
                frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), brightness, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
                number += 1

    def end(self) -> None:
        self._stop.set()
        self._thread.join(10)


@pytest.fixture
def address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"udp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"OPEN_S": 5.0, "READ_S": 0.5, "RETRY_S": 0.05, "RETRY_MOST_S": 0.1}.items():
        monkeypatch.setattr(url, name, value)


def until(condition: Callable[[], object], timeout: float = 30) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_stream_that_ends_is_connected_to_again(address: str, impatient: None) -> None:
    said: list[str] = []
    sender = Sender(address, 200)
    source = UrlSource(address, said.append)
    assert (source.info.width, source.info.height, source.info.waits, source.sound) == (96, 64, False, None)
    stop, seen = threading.Event(), []

    def read() -> None:
        for picture in source.frames(stop, paced=True):
            seen.append((picture.pts, int(picture.image[32, 48, 0])))

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: len(seen) > 10)
    sender.end()
    until(lambda: said)
    sender = Sender(address, 60)
    until(lambda: seen[-1][1] < 100)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    sender.end()
    assert [line.removeprefix(f"{address}: ").split(" (")[0] for line in said] == [
        "nothing comes any more",
        "it is back",
    ]
    times = [pts for pts, _ in seen]
    assert times == sorted(set(times))
    assert {grey // 20 * 20 for _, grey in seen} <= {180, 200, 60, 40}


def test_a_stop_does_not_wait_for_a_silent_sender(address: str, impatient: None) -> None:
    sender = Sender(address, 200)
    source = UrlSource(address, lambda line: None)
    frames = source.frames(stop := threading.Event(), paced=True)
    next(frames)
    sender.end()
    threading.Timer(0.2, stop.set).start()
    start = time.monotonic()
    list(frames)
    assert time.monotonic() - start < 5


class RtspCamera:
    """GStreamer's RTSP server, in a process of its own."""

    def __init__(self, port: int, pattern: str) -> None:
        script = Path(__file__).with_name("rtsp_server.py")
        command = ["/usr/bin/python3", str(script), str(port), pattern]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.skip("there is no gir1.2-gst-rtsp-server-1.0 with python3-gi")
        self.port = int(line)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


def test_an_rtsp_camera_with_sound_goes_and_comes_back(impatient: None) -> None:
    said: list[str] = []
    camera = RtspCamera(0, "red")
    source = UrlSource(f"rtsp://me:secret@127.0.0.1:{camera.port}/live", said.append)
    assert source.sound is not None
    sound, stop = source.sound.reader(), threading.Event()
    newest: list[tuple[int, np.ndarray]] = []

    def read() -> None:
        for picture in source.frames(stop, paced=True):
            newest[:] = [(picture.pts, picture.image[32, 48])]

    def sees(colour: tuple[int, int, int]) -> bool:
        return bool(newest) and np.abs(newest[0][1].astype(int) - colour).max() < 12

    thread = threading.Thread(target=read)
    thread.start()
    try:
        until(lambda: sees((255, 0, 0)))
        chunks: list[Chunk] = []
        until(lambda: chunks.extend(sound.take(2**62)) or len(chunks) > 20)
        assert abs(chunks[-1].pts - newest[0][0]) < 1_000_000_000, "on the pictures' clock"
        assert np.abs(chunks[-1].samples).max() > 0.1
        camera.end()
        until(lambda: said)
        camera = RtspCamera(camera.port, "blue")
        until(lambda: sees((0, 0, 255)))
        assert ["secret" in line for line in said] == [False, False]
    finally:
        stop.set()
        camera.end()
        thread.join(10)


@pytest.fixture
def mute_server() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_who_does_not_answer_is_given_up_with_one_line(mute_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url, "OPEN_S", 0.3)
    for scheme in ("http", "rtsp"):
        with pytest.raises(ParameterError, match="it cannot be played") as refused:
            UrlSource(f"{scheme}://me:secret@127.0.0.1:{mute_server}/live", lambda line: None)
        assert "\n" not in str(refused.value)
        assert "secret" not in str(refused.value)


def test_a_playlist_cannot_open_files_of_this_machine(tmp_path: Path) -> None:
    """A server that is not trusted must not get at what lies on the disk."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(b"G" * 188 * 10)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(4096)
                head = b"HTTP/1.0 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\n\r\n"
                connection.sendall(head + playlist)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ParameterError, match=r"it cannot be played|it has no video"):
            UrlSource(f"http://127.0.0.1:{server.getsockname()[1]}/live.m3u8", lambda line: None)


def test_lateness_is_measured_against_the_quickest_pictures() -> None:
    clock, ms = StreamClock(), 1_000_000
    assert clock.late(0, 1000 * ms) == 0
    assert clock.late(40 * ms, 1045 * ms) == 5 * ms - StreamClock.FORGET_NS
    assert clock.late(80 * ms, 1700 * ms) > 500 * ms  # a jam
    assert (
        clock.late(120 * ms, 1100 * ms) == 0
    )  # a burst that had waited at the sender: from now on this is the measure
    assert clock.moment(160 * ms) == 1140 * ms
