"""Bus clients and daemons that misbehave: whoever does is cut off, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftcam.daemon.bus.hello import SLOT_BYTES
from driftcam.daemon.wire import MAX_BACKLOG
from driftcam.engines.api.bus import (
    MAJOR,
    SLOTS,
    BusError,
    Decoder,
    Message,
    MessageType,
    create_memory,
    encode,
)
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.planes import PixelFormat
from tests.daemon.test_bus_server import SIZE, Bus, picture, through

HELLO = Message(MessageType.HELLO, body={"role": "filter", "session": "raw"})


class Daemon:
    """The bus in a thread of its own, for clients that block."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.bus = self.run(self._open(folder))

    async def _open(self, folder: Path) -> Bus:
        return Bus(folder)

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def ask(self, question: Callable[[], Any]) -> Any:
        async def answer() -> Any:
            return question()

        return self.run(answer())

    def until(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        end = time.monotonic() + timeout
        while not self.ask(condition):
            assert time.monotonic() < end
            time.sleep(0.02)

    def close(self) -> None:
        self.run(self.bus.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("bus"))
    yield running
    running.close()


@pytest.fixture
def unharmed(daemon: Daemon) -> Iterator[None]:
    """Whatever the clients of a test do, the engine goes on and nothing of them is left."""
    before = daemon.ask(lambda: daemon.bus.core.supervisor.restarts)
    yield
    daemon.until(lambda: daemon.bus.core.sessions.get("raw") is None)
    assert daemon.ask(lambda: daemon.bus.core.supervisor.restarts) == before, "a client brought the engine down"


@pytest.fixture
def neighbour(daemon: Daemon, unharmed: None) -> Iterator[BusClient]:
    """Somebody decent, whose stream must not notice anything."""
    daemon.until(lambda: len(daemon.bus.core.sessions) == 0)
    with daemon.bus.client("filter", "decent") as client:
        through(client, picture(7), pts=1)
        yield client
        for number in range(3):
            np.testing.assert_array_equal(
                through(client, picture(50 + number), pts=2 + number), 255 - picture(50 + number)
            )
        daemon.until(lambda: len(daemon.bus.server.clients) == 1)  # the others are gone


@contextlib.contextmanager
def raw(daemon: Daemon, *first: bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(daemon.bus.path))
        for data in first:
            sock.sendall(data)
        yield sock


def rest(sock: socket.socket) -> list[Message]:
    """What still comes until the daemon hangs up."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := sock.recv(65536):
            data += more
    return list(Decoder().feed(data))


def frame(slot: int = 0, **fields: Any) -> Message:
    shape = {"width": 8, "height": 8, "stride": 24, "pixel_format": PixelFormat.RGB24, "payload_size": 192}
    return Message(MessageType.FRAME, slot, **shape | fields)


def plane(**fields: Any) -> dict[str, Any]:
    return {"name": "mask", "format": "GRAY8", "width": 8, "height": 8, "stride": 8, "offset": 192} | fields


@pytest.mark.parametrize(
    "messages",
    [
        [Message(MessageType.RESULT_RELEASE, slot=0)],
        [frame(SLOTS)],
        [frame(stride=23)],
        [frame(payload_size=193)],
        [frame(width=0)],
        [frame(pixel_format=9)],
        [frame(width=16_384, height=16_384, stride=49_152, payload_size=2**62)],
        [Message(MessageType.STYLE_PICTURE, slot=2)],
        [Message(MessageType.PLANE, slot=2, width=3, body={"name": "style_picture"})],
        [frame(pixel_format=PixelFormat.GRAY8)],
        [frame(body={"planes": "mask"})],
        [frame(body={"planes": [plane(offset=64)]})],
        [frame(body={"planes": [plane(offset=SLOT_BYTES)]})],
        [frame(body={"planes": [plane(format="GRAY16", stride=16)]})],
        [frame(body={"planes": [plane(name="style_picture")]})],
        [Message(MessageType.HELLO)],
        [Message(MessageType.OPEN)],
        [Message(MessageType.EVENT)],
        [Message(MessageType.PARAMETERS, sequence=n) for n in range(200)],
        [frame(0), frame(0), frame(0), frame(0)],
    ],
    ids=lambda messages: f"{messages[0].type.name}-{len(messages)}",
)
def test_who_breaks_the_protocol_is_told_and_cut_off(
    daemon: Daemon, neighbour: BusClient, messages: list[Message]
) -> None:
    with raw(daemon, encode(HELLO)) as sock:
        sock.recv(1, socket.MSG_PEEK)  # WELCOME
        sock.sendall(b"".join(map(encode, messages)))
        if messages[0] == frame(0):
            return  # whether a slot is still the daemon's is a matter of time; it must only live through it
        assert rest(sock)[-1].type is MessageType.ERROR


@pytest.mark.parametrize("cut", [1, 63, 64, 90])
def test_a_client_killed_in_the_middle_of_a_message_is_forgotten(
    daemon: Daemon, neighbour: BusClient, cut: int
) -> None:
    code = (
        "import os, socket, sys, time\n"
        "sock = socket.socket(socket.AF_UNIX); sock.connect(sys.argv[1])\n"
        "sock.sendall(bytes.fromhex(sys.argv[2])); sock.recv(100); sock.sendall(bytes.fromhex(sys.argv[3]))\n"
        "print('sent', flush=True); time.sleep(60)\n"
    )
    request = encode(Message(MessageType.PARAMETERS, sequence=1, body={"strength": 0.5, "styles": [["inferno", 1]]}))
    arguments = [str(daemon.bus.path), encode(HELLO).hex(), request[:cut].hex()]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stdout.readline() == b"sent\n"
        assert daemon.ask(lambda: daemon.bus.core.sessions.get("raw")) is not None
        client.kill()
    daemon.until(lambda: daemon.bus.core.sessions.get("raw") is None)


def test_memory_stays_at_its_size_whatever_a_client_does_with_it(daemon: Daemon, neighbour: BusClient) -> None:
    with raw(daemon, encode(HELLO)) as sock:
        _, fds, _, _ = socket.recv_fds(sock, 65536, 4)
        assert len(fds) == 2
        for fd in fds:
            assert os.fstat(fd).st_size == SLOTS * SLOT_BYTES
            for size in (0, SLOT_BYTES, 2 * SLOTS * SLOT_BYTES):
                with pytest.raises(PermissionError):
                    os.ftruncate(fd, size)
            os.close(fd)


def test_a_client_that_stops_reading_is_cut_off_in_the_end(daemon: Daemon, neighbour: BusClient) -> None:
    with raw(daemon, encode(HELLO)) as sock:
        request = encode(Message(MessageType.REPORT, sequence=1))
        sock.settimeout(0.02)
        end = time.monotonic() + 30
        with contextlib.suppress(ConnectionError, TimeoutError):  # we ask for answers that we never read
            for _ in range(100 * MAX_BACKLOG // 64):
                assert time.monotonic() < end
                sock.sendall(request * 4)
                time.sleep(0.0005)
        daemon.until(lambda: daemon.bus.core.sessions.get("raw") is None)


def test_a_client_that_keeps_its_results_only_loses_results(daemon: Daemon, neighbour: BusClient) -> None:
    with daemon.bus.client("source", "greedy") as source, daemon.bus.client("sink", "greedy") as sink:
        end = time.monotonic() + 20
        while daemon.ask(lambda: daemon.bus.core.sessions.get("greedy").dropped_by_sinks) < 10:
            assert time.monotonic() < end
            source.send(picture(9))
            time.sleep(0.01)
        source.send(picture(9))
        sink.receive()  # and it can go on when it likes


def test_nothing_is_left_of_clients_that_came_and_went(daemon: Daemon, neighbour: BusClient) -> None:
    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def come_and_go() -> None:
        for role in ("filter", "source"):
            with daemon.bus.client(role, "guest") as client:
                client.send(picture(3))
        with raw(daemon, b"garbage" * 20) as sock:
            rest(sock)
        daemon.until(lambda: len(daemon.bus.server.clients) == 1)

    come_and_go()
    before, threads = daemon.ask(descriptors), threading.active_count()
    for _ in range(10):
        come_and_go()
    daemon.until(lambda: descriptors() <= before + 1)  # the last ones take a moment
    assert threading.active_count() <= threads + 6  # asyncio's pool grows to so many; 30 clients came and went


u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
small = st.integers(0, 5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["role", "session", "name", "format", "width", "height", "parameters", "strength", "styles"])
bodies = st.dictionaries(names | st.text(max_size=5), json_values | st.sampled_from(["filter", "BGRA8"]), max_size=5)
any_message = st.builds(
    Message,
    st.sampled_from(MessageType),
    small | u16,
    *(small | u32 for _ in range(4)),
    small | u64,
    st.integers(-(2**63), 2**63 - 1),
    small | u64,
    small | u32,
    bodies,
)
near_plane = st.builds(
    lambda name, kind, w, h, extra, offset: plane(
        name=name, format=kind, width=w, height=h, stride=2 * w + extra, offset=64 * offset
    ),
    st.sampled_from(["mask", "alpha", "depth", "control", "rgb", "x", 3]),
    st.sampled_from([kind.name for kind in PixelFormat]),
    *(st.integers(0, 300), st.integers(0, 300), st.integers(0, 99), st.integers(-1, 9000)),
)
near_frame = st.builds(
    lambda kind_of, slot, w, h, extra, kind, pts, planes, name: Message(
        kind_of,
        slot,
        *(w, h, 3 * w + extra, kind),
        pts=pts,
        payload_size=(3 * w + extra) * h,
        body=({"planes": planes} if planes else {}) | ({"name": name} if name else {}),
    ),
    st.sampled_from([MessageType.FRAME, MessageType.FRAME, MessageType.PLANE]),
    *(st.integers(0, 3), st.integers(1, 300), st.integers(1, 300), st.integers(0, 90), st.integers(1, 4)),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(near_plane, max_size=3) | st.builds(lambda: [plane(width=1, height=1, offset=64 * 9000)]),
    st.sampled_from(["", "style_picture", "mask"]),
)


@given(st.booleans(), st.lists(any_message | near_frame, max_size=8), st.binary(max_size=40))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_messages_bring_the_bus_down(
    daemon: Daemon, neighbour: BusClient, hello: bool, messages: list[Message], tail: bytes
) -> None:
    with raw(daemon) as sock, contextlib.suppress(ConnectionError):
        if hello:
            sock.sendall(encode(HELLO))
            sock.recv(1, socket.MSG_PEEK)  # WELCOME
        sock.sendall(b"".join(map(encode, messages)) + tail)
        sock.shutdown(socket.SHUT_WR)
        rest(sock)  # it answers or hangs up, within the time limit of the socket


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_every_filter_goes_on_after_the_engine_was_lost(daemon: Daemon, number: signal.Signals) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.bus.client("filter", f"s{n}")) for n in range(3)]
        for n, client in enumerate(clients):
            through(client, picture(40 * n), pts=1)
        restarts = daemon.ask(lambda: daemon.bus.core.supervisor.restarts)
        os.kill(daemon.ask(lambda: daemon.bus.core.supervisor.pid), number)
        for round_ in range(3):
            for n, client in enumerate(clients):
                image = picture(40 * n + round_)
                np.testing.assert_array_equal(through(client, image, pts=2 + round_), 255 - image)
        if number == signal.SIGKILL:
            assert daemon.ask(lambda: daemon.bus.core.supervisor.restarts) == restarts + 1


# -- a daemon that is none --------------------------------------------------------------------------


def pretend(folder: Path, data: Callable[[], tuple[bytes, list[int]]]) -> Path:
    """A socket that answers the first client with `data`, a message and descriptors."""
    path = folder / "fake.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(1)

    def serve() -> None:
        sock, _ = listening.accept()
        with listening, sock:
            sock.recv(65536)
            message, fds = data()
            socket.send_fds(sock, [message], fds)
            for fd in fds:
                os.close(fd)
            sock.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return path


def unsealed() -> int:
    fd = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SLOTS * 4096)
    return fd


WELCOME = {"slots": SLOTS, "slot_bytes": 4096, "session": "x", "width": SIZE[0], "height": SIZE[1]}


@pytest.mark.parametrize(
    ("body", "memory", "words"),
    [
        (WELCOME, lambda: [unsealed()], "not sealed"),
        (WELCOME, lambda: [create_memory(SLOTS, 2048)], "is not 3 slots"),
        (WELCOME | {"slots": 17}, lambda: [create_memory(17, 4096)], "17 slots"),
        (WELCOME, lambda: [], "with 1 descriptors"),
        (WELCOME, lambda: [create_memory(SLOTS, 4096), create_memory(SLOTS, 4096)], "with 1 descriptors"),
    ],
)
def test_a_client_does_not_touch_memory_that_could_change_under_it(
    tmp_path: Path, body: dict, memory: Callable[[], list[int]], words: str
) -> None:
    path = pretend(tmp_path, lambda: (encode(Message(MessageType.WELCOME, body=body)), memory()))
    with pytest.raises(BusError, match=words):
        BusClient("source", path=path)


def test_a_client_refuses_a_daemon_of_another_version(tmp_path: Path) -> None:
    data = bytearray(encode(Message(MessageType.WELCOME, body=WELCOME)))
    data[4] = MAJOR + 1
    path = pretend(tmp_path, lambda: (bytes(data), []))
    with pytest.raises(BusError, match=f"version {MAJOR + 1}"):
        BusClient("source", path=path)
