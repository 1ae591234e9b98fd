"""The engine process, driven over a bare socket as the daemon does it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from driftcam.engines.api import Parameters
from driftcam.engines.api.bus import Decoder, Message, MessageType, SlotPool, create_memory, encode

ROOT = Path(__file__).parents[2]
COUNT, BYTES = 3, 64 * 64 * 3


class Peer:
    """The daemon's end of the bus, without the daemon."""

    def __init__(self, live: bool, delay_ms: int, parameters: Parameters | None = None) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        command = [sys.executable, "-m", "driftcam.engines.worker", "--engine", "tests.daemon.standin:Engine"]
        environment = os.environ | {"STANDIN_DELAY_MS": str(delay_ms)}
        fd = theirs.fileno()
        self.process = subprocess.Popen([*command, "--bus-fd", str(fd)], pass_fds=[fd], env=environment)
        theirs.close()
        self._decoder, self._waiting = Decoder(), []
        assert self.next().type is MessageType.HELLO
        fds = [create_memory(COUNT, BYTES) for _ in range(2)]
        self.input, self.output = (SlotPool(fd, COUNT, BYTES) for fd in fds)
        values = (parameters or Parameters(width=64, height=64)).to_dict()
        body = {"slots": COUNT, "slot_bytes": BYTES, "live": live, "parameters": values}
        socket.send_fds(self.socket, [encode(Message(MessageType.OPEN, body=body, stream=1))], fds)
        for fd in fds:
            os.close(fd)
        assert self.next().type is MessageType.REPLY

    def send(self, kind: MessageType, **fields: object) -> None:
        self.socket.sendall(encode(Message(kind, stream=1, **fields)))

    def frame(self, slot: int, brightness: int, pts: int) -> None:
        image = np.full((64, 64, 3), brightness, np.uint8)
        self.socket.sendall(encode(self.input.write(slot, image, Message(MessageType.FRAME, pts=pts, stream=1))))

    def next(self) -> Message:
        while not self._waiting:
            data = self.socket.recv(65536)
            assert data, "the worker went away"
            self._waiting = list(self._decoder.feed(data))
        return self._waiting.pop(0)

    def until(self, condition: Callable[[Message], bool]) -> list[Message]:
        """Messages up to the first that fulfils `condition`."""
        seen = [self.next()]
        while not condition(seen[-1]):
            seen.append(self.next())
        return seen

    def close(self) -> None:
        self.socket.close()
        assert self.process.wait(timeout=5) == 0
        self.input.close()
        self.output.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def connect(live: bool, delay_ms: int = 0) -> Peer:
        peers.append(Peer(live, delay_ms))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.close()  # the worker ends by itself when the socket closes


def results(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.type is MessageType.RESULT]


def test_a_live_stream_gets_the_newest_frame_and_the_older_one_back_at_once(connect) -> None:
    peer = connect(live=True, delay_ms=400)
    peer.frame(0, 10, pts=1)
    time.sleep(0.1)
    peer.frame(1, 20, pts=2)
    peer.frame(2, 30, pts=3)
    first = peer.next()
    assert (first.type, first.slot, first.pts, first.body) == (MessageType.RELEASE, 1, 2, {"dropped": True})
    seen = peer.until(lambda message: message.type is MessageType.RESULT and message.pts == 3)
    assert [message.pts for message in results(seen)] == [1, 3]
    assert peer.output.read(seen[-1])[0, 0, 0] == 255 - 30


def test_without_live_every_frame_is_answered_in_order_and_waits_for_a_result_slot(connect) -> None:
    peer = connect(live=False)
    for slot in range(COUNT):
        peer.frame(slot, slot, pts=slot)
    held = results(peer.until(lambda message: message.type is MessageType.RELEASE and message.slot == 2))
    assert [message.pts for message in held] == [0, 1, 2]
    assert {message.slot for message in held} == set(range(COUNT))
    peer.frame(0, 50, pts=3)
    peer.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peer.next()  # all result slots are ours
    peer.socket.settimeout(20)
    peer.send(MessageType.RESULT_RELEASE, slot=held[1].slot)
    (result,) = results(peer.until(lambda message: message.type is MessageType.RESULT))
    assert (result.pts, result.slot) == (3, held[1].slot)
    assert result.body["process_ms"] >= 0


def test_flush_is_answered_behind_the_last_result(connect) -> None:
    peer = connect(live=False, delay_ms=50)
    for slot in range(COUNT):
        peer.frame(slot, slot, pts=slot)
    peer.send(MessageType.FLUSH, sequence=9)
    seen = peer.until(lambda message: message.type is MessageType.REPLY)
    assert len(results(seen)) == COUNT
    assert seen[-1].sequence == 9


@pytest.mark.parametrize(
    ("body", "field"),
    [({"seed": 101}, "seed"), ({"strength": 2}, "strength"), ({"nonsense": 1}, "nonsense"), ({"styles": 5}, "styles")],
)
def test_a_bad_change_is_answered_with_its_field_and_the_stream_goes_on(connect, body: dict, field: str) -> None:
    peer = connect(live=True)
    peer.send(MessageType.PARAMETERS, sequence=4, body=body)
    answer = peer.next()
    assert (answer.type, answer.sequence, answer.body["field"]) == (MessageType.ERROR, 4, field)
    peer.frame(0, 1, pts=1)
    assert results(peer.until(lambda message: message.type is MessageType.RESULT))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8900\r\nUser-Agent: curious\r\nAccept: */*\r\n\r\n",
        encode(Message(MessageType.FRAME, 7, width=9, height=9, stride=27, pixel_format=1, payload_size=243, stream=1)),
        encode(Message(MessageType.FRAME, stream=2)),
        encode(Message(MessageType.RESULT_RELEASE, slot=1, stream=1)),
        encode(Message(MessageType.OPEN, stream=2)),
        encode(Message(MessageType.HELLO)),
    ],
)
def test_a_peer_that_breaks_the_protocol_ends_the_worker_without_a_hang(data: bytes) -> None:
    peer = Peer(live=True, delay_ms=0)
    peer.socket.sendall(data)
    peer.process.wait(timeout=10)
    peer.socket.close()


def test_ctrl_c_is_not_for_the_worker(connect) -> None:
    peer = connect(live=True)
    peer.process.send_signal(signal.SIGINT)
    peer.process.send_signal(signal.SIGTERM)
    peer.frame(0, 1, pts=1)
    assert results(peer.until(lambda message: message.type is MessageType.RESULT))


def test_the_worker_ends_with_the_daemon_even_in_the_middle_of_a_frame() -> None:
    peer = Peer(live=True, delay_ms=60_000)
    peer.frame(0, 1, pts=1)
    peer.close()
