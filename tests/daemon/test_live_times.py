"""Live streams whose own times say nothing, lie or jump: what comes is shown when it comes."""

from __future__ import annotations

import contextlib
import functools
import io
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest

from driftcam.daemon.sources.times import HABIT, SECOND, Lead, Playout
from driftcam.daemon.sources.url import UrlSource
from scripts.chaos.senders import KINDS, Sender, sending
from tests.daemon.conftest import SIZE, numbered
from tests.daemon.test_url import until

MS = 1_000_000
STEP = 40 * MS


@dataclass
class Seen:
    """What a source shows while it is read in the background: moment in s and picture."""

    pictures: list[tuple[float, np.ndarray]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def moments(self) -> list[float]:
        return [moment for moment, _ in self.pictures]


@contextlib.contextmanager
def watched(address: str) -> Iterator[Seen]:
    seen, stop = Seen(), threading.Event()
    source = UrlSource(address, seen.said.append)

    def read() -> None:
        for picture in source.frames(stop, paced=True):
            seen.pictures.append((time.monotonic(), picture.image))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def share(seen: Seen, sender: Sender, seconds: float = 2.0) -> float:
    """Of the pictures that are sent, from now on."""
    before, sent = len(seen.pictures), sender.sent
    time.sleep(seconds)
    return (len(seen.pictures) - before + 1) / (sender.sent - sent)


@pytest.mark.parametrize(
    ("kind", "fps", "speed"),
    [
        ("mjpeg", 8, 1),
        ("mjpeg", 20, 1),
        ("mjpeg", 60, 1),
        ("h264", 12, 1),
        ("h264", 50, 1),
        ("ts-tcp", 10, 5),
        ("ts-http", 30, 0.1),
        ("ts-udp", 25, 0),
    ],
)
def test_the_picture_never_stops_whatever_a_camera_says_of_its_times(kind: str, fps: float, speed: float) -> None:
    sender = Sender(kind, random.Random(1))
    sender.fps, sender.speed = fps, speed
    sender.start()
    try:
        with watched(sender.address) as seen:
            until(lambda: len(seen.pictures) > 3 * fps)  # time enough for what adds up
            assert share(seen, sender) > 0.5
            assert seen.said == []
    finally:
        sender.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_times_that_jump_stop_nothing(kind: str, seconds: int) -> None:
    with sending(kind, random.Random(1)) as sender:
        sender.jump(3600)
        with watched(sender.address) as seen:
            until(lambda: len(seen.pictures) > 10)
            sender.jump(seconds)
            time.sleep(0.5)
            assert share(seen, sender, 1) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_sender_that_comes_back_with_another_size_is_shown_again_and_told_of(kind: str) -> None:
    with sending(kind, random.Random(1)) as sender, watched(sender.address) as seen:
        until(lambda: len(seen.pictures) > 10)
        sender.stop()
        if kind != "ts-udp":  # nobody sees that datagrams stay away for a moment
            until(lambda: any("nothing comes any more" in line for line in seen.said))
        sender.size = 320, 240
        sender.start()
        until(lambda: seen.pictures[-1][1].shape == (240, 320, 3), 8)
        if kind != "ts-udp":
            assert seen.said[-1].endswith("it is back")


def encoded(number: int, seconds: float, format: str, codec: str, begin: float = 0.0) -> bytes:
    """Pictures at 25 a second, from number `number` on, as a browser records them: without a length."""
    output = io.BytesIO()
    stream_of = {"write": output.write}  # without `seek`, so that nothing is filled in later
    file = type("File", (), {name: staticmethod(call) for name, call in stream_of.items()})()
    with av.open(file, "w", format=format, options={"output_ts_offset": str(begin)}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(round(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(numbered(number + index, SIZE), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


@contextlib.contextmanager
def served(answer: dict[str, bytes] | functools.partial, *, length: bool = True) -> Iterator[str]:
    """Files over HTTP, with or without saying how long they are."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(self.path) if callable(answer) else answer[self.path]
            self.send_response(200)
            if length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("length", [True, False], ids=["with length", "without"])
@pytest.mark.parametrize("seconds", [2, 7])
def test_a_recording_without_a_duration_is_played_at_its_own_speed(length: bool, seconds: float) -> None:
    with served({"/a.webm": encoded(0, seconds, "webm", "libvpx")}, length=length) as address:
        with watched(f"{address}/a.webm") as seen:
            time.sleep(3)
        assert 40 < len(seen.pictures) < 110, "25 a second, but for a moment until it is known for a file"
        assert seen.said == []


def test_a_live_stream_in_segments_is_shown_evenly() -> None:
    """HLS: a second of pictures each second."""
    segments = [encoded(25 * n, 1, "mpegts", "libx264", n) for n in range(14)]
    start = time.monotonic()

    def answer(path: str) -> bytes:
        if path.endswith(".ts"):
            return segments[int(path[1:-3])]
        newest = min(len(segments), 3 + int(time.monotonic() - start))
        head = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{newest - 3}\n"
        return (head + "".join(f"#EXTINF:1.0,\n{n}.ts\n" for n in range(newest - 3, newest))).encode()

    with served(functools.partial(answer)) as address, watched(f"{address}/live.m3u8") as seen:
        time.sleep(2)
        before = len(seen.pictures)
        time.sleep(5)
        assert len(seen.pictures) - before > 0.6 * 5 * 25
        pauses = np.diff(seen.moments[-75:])
    assert np.median(pauses) == pytest.approx(0.04, abs=0.02), "one after another, not a second's worth at once"


def shown(arrivals: list[int], stamps: list[int | None], *, hold: int = 0, trusted: bool = True) -> list[int]:
    """How long each picture is held back, in ms, in bursts of those that came at the same time."""
    playout = Playout(STEP, hold, trusted=trusted)
    later = [*arrivals[1:], 2**62]
    return [
        (playout.due(stamp, at, waiting=after == at) - at) // MS
        for at, after, stamp in zip(arrivals, later, stamps, strict=True)
    ]


@pytest.mark.parametrize("trusted", [True, False])
def test_what_comes_alone_is_shown_when_it_comes(trusted: bool) -> None:
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.integers(1, 3000, 200)).tolist()
    stamps = rng.integers(-(2**60), 2**60, 200).tolist()
    assert set(shown([at * MS for at in arrivals], stamps, trusted=trusted)) == {0}


def test_bursts_are_paced_as_soon_as_they_are_a_habit() -> None:
    bursts = [second * SECOND for second in range(4) for _ in range(25)]
    held = np.array(shown(bursts, [n * STEP for n in range(100)])).reshape(4, 25)
    assert (held[:2] == 0).all(), "one silence is a jam: the newest counts"
    assert (abs(np.diff(held[2:, :-1]) - 39) <= 1).all()
    assert (held[:, -1] == 0).all(), "nothing waits behind it"


def test_a_burst_without_times_is_paced_at_the_rate_that_was_seen() -> None:
    bursts = [second * SECOND for second in range(8) for _ in range(10)]
    held = np.array(shown(bursts, [None] * 80, trusted=False)).reshape(8, 10)
    assert (np.diff(held[-1, :-1]) > 70).all()


def test_nothing_is_held_longer_than_it_may_be() -> None:
    held = shown([0] * 1000, [n * STEP for n in range(1000)], hold=10 * SECOND)
    assert max(held) == 10_000
    habits = Playout(STEP, 0, trusted=True)
    for at in (0, 2 * SECOND, 4 * SECOND):
        habits.due(None, at, waiting=False)
    assert habits.hold == 2 * SECOND
    habits.due(None, 4 * SECOND + HABIT + 1, waiting=False)
    assert habits.hold == 0, "forgotten"


def test_a_lead_on_the_clock_tells_a_file_from_a_live_stream() -> None:
    live, hasty, kept, fetched = Lead(), Lead(), Lead(), Lead()
    for n in range(1000):
        live.came(7 * SECOND + n * STEP, n * STEP)
        hasty.came(n * 9 * STEP, n * STEP)
        kept.came(n * STEP, max(0, n - 50) * STEP)
        fetched.came(n * STEP, n * MS)
    assert [lead.above(5 * SECOND) for lead in (live, hasty, kept, fetched)] == [False, False, False, True]
    fetched.came(3600 * SECOND, SECOND)
    assert not fetched.above(0), "a jump is no lead"
