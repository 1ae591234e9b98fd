"""Frames out of packets: early, complete, and past losses."""

from __future__ import annotations

import random

import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from driftcam.webrtc.adjust.jitter import HEAD_OF_LINE, NACK_TRIES, JitterBuffer, RetryingNack, is_key

KEY = b"\x10\x00\x00\x9d\x01\x2a" + bytes(8)
DELTA = b"\x11\x00\x00" + bytes(8)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def packet(number: int, timestamp: int, data: bytes, marker: int = 0) -> RtpPacket:
    made = RtpPacket(sequence_number=number % 65536, timestamp=timestamp, marker=marker, payload=data)
    made._data = data
    return made


def stream(frames: int, first: int = 0, per_frame: int = 3, keys: tuple[int, ...] = (0,)) -> list[RtpPacket]:
    """`frames` frames of `per_frame` packets; frame n has the time stamp n."""
    packets = []
    for frame in range(frames):
        for part in range(per_frame):
            data = (KEY if frame in keys else DELTA) if part == 0 else bytes([frame, part])
            packets.append(packet(first + frame * per_frame + part, frame, data, int(part == per_frame - 1)))
    return packets


def run(packets: list[RtpPacket], clock: Clock, step: float = 0.01) -> tuple[list[int], int]:
    """Time stamps of the frames that came out, and how often a key frame was asked for."""
    buffer = JitterBuffer(512, is_video=True, clock=clock)
    out, asked = [], 0
    for each in packets:
        clock.now += step
        pli, frame = buffer.add(each)
        asked += pli
        if frame is not None:
            out += [frame.timestamp, *(later.timestamp for later in frame.later)]
    return out, asked


@pytest.mark.parametrize("first", [0, 65_530])
def test_a_frame_leaves_with_its_last_packet(first: int) -> None:
    buffer = JitterBuffer(512, is_video=True, clock=Clock())
    got = [buffer.add(each)[1] for each in stream(4, first)]
    assert [frame is not None for frame in got] == [False, False, True] * 4
    assert got[2].data == KEY + bytes([0, 1, 0, 2])


def test_senders_without_markers_are_understood_and_padding_is_no_frame() -> None:
    packets = stream(4)
    for each in packets:
        each.marker = 0
    assert run(packets, Clock())[0] == [0, 1, 2]
    packets = stream(2)
    padding = packet(6, 1, b"")
    assert run([*packets, padding, *(packet(7 + i, 5, DELTA, i) for i in range(2))], Clock())[0] == [0, 1, 5]


@given(st.integers(0, 65_535), st.integers(0, 2**32))
def test_order_within_a_window_does_not_matter(first: int, seed: int) -> None:
    packets = stream(10, first)
    rest, rng = packets[1:], random.Random(seed)
    shuffled = [
        p for start in range(0, len(rest), 6) for p in rng.sample(rest[start : start + 6], len(rest[start : start + 6]))
    ]
    assert run([packets[0], *shuffled, *shuffled[:3]], Clock(), step=0.001) == (list(range(10)), 0)


def test_a_packet_that_comes_late_but_in_time_releases_everything_behind_it() -> None:
    packets = stream(6)
    late = packets.pop(4)
    assert run([*packets[:12], late, *packets[12:]], Clock(), step=0.005) == (list(range(6)), 0)


def test_a_lost_packet_costs_its_frame_up_to_the_next_key_frame_which_is_asked_for() -> None:
    packets = stream(60, keys=(0, 50))
    del packets[16]  # of frame 5
    out, asked = run(packets, Clock(), step=0.01)
    assert out == [*range(5), *range(50, 60)] and asked >= 1
    gap = packets[15:]
    assert len(gap) * 0.01 > HEAD_OF_LINE


def test_a_key_frame_behind_the_gap_ends_the_wait_at_once() -> None:
    packets = stream(9, keys=(0, 7))
    del packets[16]
    assert run(packets, Clock(), step=0.001)[0] == [*range(5), 7, 8]


def test_a_key_frame_without_its_start_is_none() -> None:
    packets = stream(20, keys=(0, 5, 15))
    del packets[15]  # the first packet of the key frame 5
    out, _ = run(packets, Clock(), step=0.05)
    assert out == [*range(5), *range(15, 20)]


def test_a_sender_that_begins_anew_is_followed() -> None:
    out, _ = run([*stream(3), *stream(3, first=30_000)], Clock())
    assert out == [0, 1, 2, 0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 3), st.booleans()), max_size=200))
def test_no_sequence_of_packets_breaks_it_or_makes_it_grow(packets: list[tuple[int, int, bool]]) -> None:
    clock = Clock()
    buffer = JitterBuffer(64, is_video=True, clock=clock)
    for number, timestamp, marker in packets:
        clock.now += 0.02
        buffer.add(packet(number, timestamp, DELTA, int(marker)))
        assert len(buffer._packets) <= 64


def test_sound_comes_packet_by_packet_and_a_lost_one_is_given_up_soon() -> None:
    buffer = JitterBuffer(16, prefetch=4, clock=Clock())
    out = []
    for number in [0, 1, 2, 4, 5, 6, 7, 9, 8]:
        _, frame = buffer.add(packet(number, number * 960, b"sound"))
        if frame is not None:
            out += [frame.timestamp // 960, *(later.timestamp // 960 for later in frame.later)]
    assert out == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_packet_that_stays_lost_is_asked_for_again_but_not_for_ever() -> None:
    clock = Clock()
    nack = RetryingNack(clock)
    asked = 0
    for number in [0, *range(2, 100)]:
        clock.now += 0.01
        asked += nack.add(packet(number, 0, b""))
    assert asked == NACK_TRIES and nack.missing == set()
    clock.now += 1
    assert nack.add(packet(101, 0, b"")) and nack.missing == {100}
    assert not nack.add(packet(100, 0, b"")) and nack.missing == set()


def test_key_frames_are_told_apart_from_others() -> None:
    assert is_key(KEY + bytes(10)) and not is_key(DELTA + bytes(10)) and not is_key(b"")
    assert is_key(b"\0\0\0\1\x67abc\0\0\0\1\x68ab\0\0\0\1\x65data")
    assert not is_key(b"\0\0\0\1\x41data") and not is_key(b"\0\0\0\1")
