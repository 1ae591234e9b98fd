"""The plugin's end of the bus against a peer, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from driftcam.engines.api.bus import MAGIC, MAX_JSON, SEALS, Message, MessageType, create_memory, encode
from tests.obs_plugin import peer as peers
from tests.obs_plugin.conftest import THREAD, Harness, Status
from tests.obs_plugin.peer import Client, Peer

WIDTH, HEIGHT = 64, 48
Start = Callable[..., Harness]


def until(harness: Harness, condition: Callable[[Status], Any], timeout: float = 30.0) -> Status:
    deadline = time.monotonic() + timeout
    while not condition(status := harness.status()):
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return status


def poll(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def round_trip(harness: Harness, pts: int, value: int = 10) -> list[int]:
    """Width, height, pts and sum of the bytes of the answer to a frame of one value."""
    poll(lambda: harness.say(f"frame {WIDTH} {HEIGHT} {pts} {value}") == "sent")
    return [int(number) for number in taken(harness).split()]


def taken(harness: Harness) -> str:
    """The next result."""
    return poll(lambda: (line := harness.say("take")) != "none" and line)


def connected(harness: Harness) -> Status:
    return until(harness, lambda status: status.connected)


def test_a_frame_comes_back_with_its_time(start: Start, peer: Peer) -> None:
    harness = start()
    status = connected(harness)
    assert (status.width, status.height, status.server) == (WIDTH, HEIGHT, "peer 1")
    for pts in (7, 8, 9, 10, 11):  # more than there are slots
        assert round_trip(harness, pts, value=pts) == [WIDTH, HEIGHT, pts, WIDTH * HEIGHT * 4 * pts]
    assert peer.living[0].hello["role"] == "filter"
    assert peer.troubles == []


def test_a_long_name_is_cut_at_a_whole_character(start: Start, peer: Peer) -> None:
    connected(start(name="カメラ" * 20 + '"\\'))
    assert peer.living[0].hello["name"] == ("カメラ" * 20)[:21]


def test_styles_and_presets_are_asked_for(start: Start) -> None:
    harness = start()
    status = until(harness, lambda s: s.styles)
    assert (status.styles, status.presets) == (len(peers.STYLES), len(peers.PRESETS))


def test_requests_are_answered(start: Start, peer: Peer) -> None:
    harness = start()
    connected(harness)
    harness.say('change {"styles":[["rotate",1.0]]}')
    until(harness, lambda s: s.style == "rotate")
    harness.say("preset negative")
    until(harness, lambda s: s.style == "invert")
    harness.say('change {"styles":[["nonsense",1.0]]}')
    until(harness, lambda s: s.errors == 1)
    assert harness.say("style 20 10 77") == "sent"
    picture = poll(lambda: peer.living[0].pictures)[0]
    assert picture.shape == (10, 20, 4) and (picture == 77).all()
    harness.say("call")
    until(harness, lambda s: harness.say(f"frame {WIDTH} {HEIGHT} 1 1") and s.works >= 2)  # it asked to be called again


def test_a_daemon_that_knows_no_planes_gets_the_picture_of_a_style_as_it_always_did(start: Start, peer: Peer) -> None:
    peer.minor = 0
    harness = start()
    connected(harness)
    assert harness.say("style 20 10 77") == "sent"
    poll(lambda: peer.living[0].pictures)
    assert peer.living[0].requests[-1].type is MessageType.STYLE_PICTURE and not peer.troubles


def test_few_requests_are_unanswered_at_a_time_and_the_newest_wins(start: Start, peer: Peer) -> None:
    harness = start()
    connected(harness)
    client = peer.living[0]
    until(harness, lambda s: s.replies == 1)  # the first report
    answered, client._answer = client._answer, lambda message: None  # type: ignore[method-assign]
    for strength in range(50):
        harness.say(f'change {{"strength":0.{strength:02}}}')
        time.sleep(0.002)
    time.sleep(0.1)
    assert len(client.requests) <= 1 + 4
    client._answer = answered  # type: ignore[method-assign]
    for request in list(client.requests[1:]):
        answered(request)
    poll(lambda: client.requests[-1].body == {"strength": 0.49})


def test_changes_that_wait_are_sent_together_and_none_is_lost(start: Start, peer: Peer) -> None:
    harness = start()
    connected(harness)
    client = peer.living[0]
    until(harness, lambda s: s.replies == 1)
    answered, client._answer = client._answer, lambda message: None  # type: ignore[method-assign]
    for number in range(4):  # as many as may be unanswered
        harness.say(f'change {{"steps":{number + 1}}}')
        poll(lambda number=number: len(client.requests) == 2 + number)
    for line in ('{"strength":0.5,"freedom":0.1}', '{"styles":[["invert",1.0]]}', '{"strength":0.75}'):
        harness.say(f"change {line}")
    client._answer = answered  # type: ignore[method-assign]
    for request in list(client.requests[1:]):
        answered(request)
    together = {"strength": 0.75, "freedom": 0.1, "styles": [["invert", 1.0]]}
    poll(lambda: client.requests[-1].body == together)


def test_a_table_of_parameters_as_large_as_a_message_is_taken(start: Start, peer: Peer) -> None:
    entry = {"name": "x", "kind": "number", "label": "ü" * 100, "about": "\n" * 400}
    most = (MAX_JSON - 2000) // len(json.dumps(entry, separators=(",", ":")))
    peer.fields = [entry] * most
    harness = start()
    until(harness, lambda s: s.styles == len(peers.STYLES))
    assert harness.status().trouble == "" and peer.troubles == []


def test_a_refused_hello_is_changed_at_once(start: Start, peer: Peer) -> None:
    peer.welcome = refusal
    harness = start()
    until(harness, lambda s: s.attempts >= 4)  # the next attempts are a second apart and more
    peer.welcome = peers.welcome
    before = time.monotonic()
    harness.say('hello {"strength":0.5}')
    connected(harness)
    assert time.monotonic() - before < 1


def test_a_late_reader_gets_the_newest_and_the_daemon_its_slots(start: Start, peer: Peer) -> None:
    harness = start()
    connected(harness)
    for pts in range(1, 20):
        poll(lambda pts=pts: harness.say(f"frame {WIDTH} {HEIGHT} {pts} 1") == "sent")
        until(harness, lambda s, pts=pts: s.results >= pts)
    assert int(harness.say("take").split()[2]) == 19
    assert harness.status().skipped == 18
    assert harness.say("take") == "none"


def test_a_sink_gets_pictures_without_giving_any(start: Start, peer: Peer) -> None:
    harness = start("sink")
    connected(harness)
    assert harness.say(f"frame {WIDTH} {HEIGHT} 1 1") == "none"
    image = peers.np.full((HEIGHT, WIDTH, 4), 3, peers.np.uint8)
    assert peer.living[0].show(image, 5)
    assert taken(harness) == f"{WIDTH} {HEIGHT} 5 {image.sum()}"


def test_a_placeholder_goes_back_unseen(start: Start, peer: Peer) -> None:
    harness = start("sink")
    connected(harness)
    image = peers.np.full((HEIGHT, WIDTH, 4), 9, peers.np.uint8)
    for _ in range(2 * peers.SLOTS):  # every slot comes back
        poll(lambda: peer.living[0].show(image, 1, placeholder=True))
    poll(lambda: peer.living[0].show(image, 2))
    assert taken(harness).split()[2] == "2"
    assert harness.status().results == 1


def test_a_picture_larger_than_a_slot_is_not_sent(start: Start) -> None:
    harness = start()
    connected(harness)
    assert harness.say("frame 2000 2000 1 1") == "none"
    assert round_trip(harness, 2)[2] == 2


def test_without_a_reader_at_the_other_end_frames_are_dropped_and_nothing_grows(start: Start, peer: Peer) -> None:
    peer.on_frame = lambda client, message: None  # keeps every slot
    harness = start()
    connected(harness)
    for n in range(1, peers.SLOTS + 1):  # one at a time: a frame that still waits gives way to the next
        harness.say(f"frame {WIDTH} {HEIGHT} {n} 1")
        until(harness, lambda s, n=n: s.sent == s.outstanding == n)
    answers = [harness.say(f"frame {WIDTH} {HEIGHT} {n} 1") for n in range(peers.SLOTS + 1, peers.SLOTS + 201)]
    status = harness.status()
    assert answers[-1] == "none"
    assert status.sent == status.outstanding == peers.SLOTS and status.dropped >= 200 - peers.SLOTS


def test_hidden_it_makes_no_attempt_and_shown_it_connects(start: Start, peer: Peer) -> None:
    harness = start()
    connected(harness)
    harness.say("want 2")  # hidden, and leave
    until(harness, lambda s: s.state == 0)
    attempts = harness.status().attempts
    time.sleep(0.7)  # longer than the first two pauses between attempts
    assert harness.status().attempts == attempts
    harness.say("want 1")
    connected(harness)


def test_hidden_without_leaving_keeps_the_connection(start: Start) -> None:
    harness = start()
    connected(harness)
    harness.say("want 0")
    time.sleep(0.1)
    assert harness.status().connected


def test_a_daemon_that_comes_late_or_back_is_found(start: Start, peer: Peer) -> None:
    peer.close()
    harness = start()
    until(harness, lambda s: s.attempts >= 2 and s.trouble == "the daemon is not running")
    again = Peer(peer.path)
    try:
        harness.say('hello {"styles":[["invert",1.0]]}')
        connected(harness)
        assert again.living[0].hello["parameters"] == {"styles": [["invert", 1.0]]}
        again.living[0].close()
        until(harness, lambda s: s.connections == 2)
        assert round_trip(harness, 3)[2] == 3
    finally:
        again.close()


def unsealed(client: Client) -> None:
    memory = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, peers.SLOTS * peers.SLOT_BYTES)
    peers.give_memory(client, (memory, create_memory(peers.SLOTS, peers.SLOT_BYTES)))


def shrinking(client: Client) -> None:
    """Sealed against growing only: it is cut as soon as the client has it."""
    memory = os.memfd_create("shrinks", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, peers.SLOTS * peers.SLOT_BYTES)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS & ~fcntl.F_SEAL_SHRINK)
    kept = os.dup(memory)
    peers.give_memory(client, (memory, create_memory(peers.SLOTS, peers.SLOT_BYTES)))
    os.ftruncate(kept, 0)
    os.close(kept)


def too_small(client: Client) -> None:
    peers.give_memory(client, (create_memory(1, 4096), create_memory(1, 4096)))


def one_memory(client: Client) -> None:
    peers.give_memory(client, (create_memory(peers.SLOTS, peers.SLOT_BYTES),))


def many_memories(client: Client) -> None:
    peers.give_memory(client, tuple(create_memory(1, 4096) for _ in range(9)))


def wrong_version(client: Client) -> None:
    client.send(encode(Message(MessageType.EVENT))[:4] + b"\x09\x00" + bytes(58))


def refusal(client: Client) -> None:
    body = {"field": "session", "value": "test", "advice": "close another", "text": "the machine is full"}
    client.say(MessageType.ERROR, body=body)


def picture_without_slot(client: Client) -> None:
    peers.welcome(client)
    client.say(MessageType.RESULT, slot=99, width=4, height=4, stride=16, pixel_format=2, payload_size=64)


def picture_beyond_slot(client: Client) -> None:
    peers.welcome(client)
    size = {"width": 16384, "height": 16384, "stride": 65536, "payload_size": 65536 * 16384}
    client.say(MessageType.RESULT, slot=0, pixel_format=2, **size)


def overflowing_picture(client: Client) -> None:
    peers.welcome(client)
    client.say(MessageType.RESULT, slot=2, width=2**31, height=2, stride=2**31 + 64, pixel_format=2, payload_size=128)


def slot_never_given(client: Client) -> None:
    peers.welcome(client)
    client.say(MessageType.RELEASE, slot=1)


def second_welcome(client: Client) -> None:
    peers.welcome(client)
    peers.welcome(client)


FAULTS: list[tuple[Callable[[Client], None], str]] = [
    (unsealed, "not sealed"),
    (shrinking, "not sealed"),
    (too_small, "another size"),
    (one_memory, "wrong number"),
    (many_memories, "wrong number"),
    (lambda client: peers.give_memory(client, (), slots=1e30), "wrong number"),
    (lambda c: peers.give_memory(c, (create_memory(1, 64), create_memory(1, 64)), slots=-1), "impossible size"),
    (lambda c: peers.give_memory(c, (create_memory(1, 64), create_memory(1, 64)), width=0), "impossible size"),
    (wrong_version, "speaks version 9.0"),
    (refusal, "the machine is full"),
    (lambda client: client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4), "not Driftcam"),
    (lambda client: client.send(MAGIC + b"\x01\x00\x00\x00" + b"\xff" * 56), "too long"),
    (lambda client: client.send(encode(Message(MessageType.EVENT, body={"a": 1}))[:-1] + b"]"), "cannot be read"),
    (picture_without_slot, "cannot be"),
    (picture_beyond_slot, "cannot be"),
    (overflowing_picture, "cannot be"),
    (slot_never_given, "did not have"),
    (second_welcome, "wrong number"),
    (lambda client: client.say(MessageType.RESULT), "did not say welcome"),
]


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_fault_is_named_and_the_next_connection_is_good(start: Start, peer: Peer, number: int) -> None:
    fault, words = FAULTS[number]
    peer.welcome = fault
    harness = start()
    until(harness, lambda s: words in s.trouble)
    peer.welcome = peers.welcome
    connected(harness)
    assert round_trip(harness, 1)[2] == 1


def test_a_newer_minor_may_say_more(start: Start, peer: Peer) -> None:
    harness = start()
    connected(harness)
    peer.living[0].send(MAGIC + b"\x01\x00\x07\x00\x63\x00" + bytes(54))
    assert round_trip(harness, 4)[2] == 4
    assert harness.status().connections == 1


def test_garbage_of_every_kind_does_no_harm(start: Start, peer: Peer) -> None:
    """Good messages with flipped bytes, cut and repeated; the client must only ever end the connection."""
    chance = random.Random(7)
    sent = 0

    def fuzz(client: Client) -> None:
        nonlocal sent
        if chance.random() < 0.8:
            peers.welcome(client)
        for _ in range(30):
            kind = chance.choice(list(MessageType))
            fields = {name: chance.choice([0, 1, 2, 64, 255, 2**31]) for name in ("width", "height", "stride")}
            data = bytearray(
                encode(Message(kind, chance.randrange(4), **fields, pixel_format=2, body={"styles": ["a", {}, [1]]}))
            )
            for _ in range(chance.randrange(4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            client.send(bytes(data[: chance.randrange(1, len(data) + 1)] if chance.random() < 0.1 else data))
            sent += 1
        client.close()

    peer.welcome = fuzz
    harness = start()
    for _ in range(120):
        harness.say("reconnect")
        harness.say(f"frame {WIDTH} {HEIGHT} 1 1")
        harness.say("take")
        time.sleep(0.005)
    assert sent > 1000
    peer.welcome = peers.welcome
    harness.say("reconnect")
    connected(harness)
    assert round_trip(harness, 5)[2] == 5


def faulty_peer(peer: Peer) -> None:
    """Good, slow, forgetful and rude by turns."""
    chance = random.Random(3)

    def on_frame(client: Client, message: Message) -> None:
        luck = chance.random()
        if luck < 0.9:
            with contextlib.suppress(Exception):
                peers.answer(client, message)
        elif luck < 0.95:
            client.close()

    peer.on_frame = on_frame


def test_three_threads_and_a_faulty_daemon_under_address_sanitizer(start: Start, peer: Peer) -> None:
    faulty_peer(peer)
    harness = start()
    assert harness.say("storm 2500") == "over"
    peer.on_frame = peers.answer
    harness.say("reconnect")
    connected(harness)


def test_three_threads_and_a_faulty_daemon_under_thread_sanitizer(start: Start, peer: Peer) -> None:
    faulty_peer(peer)
    harness = start(flags=THREAD)
    assert harness.say("storm 2500") == "over"


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_valgrind_finds_nothing(start: Start, peer: Peer) -> None:
    quiet = ("valgrind", "-q", "--leak-check=full", "--show-leak-kinds=all", "--track-fds=no", "--error-exitcode=9")
    harness = start(flags=(), wrapper=quiet)
    connected(harness)
    assert round_trip(harness, 1)[2] == 1
    harness.say("style 20 10 77")
    peer.living[0].close()
    until(harness, lambda s: s.connections == 2)
    assert round_trip(harness, 2)[2] == 2


def test_a_socket_of_nobody_and_one_that_never_answers(start: Start, peer: Peer) -> None:
    peer.close()
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(peer.path))
    silent.listen(0)
    harness = start()
    until(harness, lambda s: s.attempts >= 1)
    assert not harness.status().connected
    silent.close()
