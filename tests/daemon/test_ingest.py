"""The door of a session: places, sizes, times and who is told that memory is free again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.frames import Picture
from driftcam.daemon.session.ingest import FAR, Clock, Ingest
from driftcam.daemon.sound import Sound
from driftcam.engines.api import ParameterError, Parameters

WIDTH, HEIGHT = 96, 64


class SimulatedStream:
    """What comes out on the other side of the door."""

    def __init__(self, live: bool = True) -> None:
        self.live, self.dropped = live, 0
        self.pictures: list[Picture] = []
        self.free = asyncio.Event()
        self.free.set()

    def offer(self, picture: Picture) -> bool:
        self.pictures.append(picture)
        return True

    async def submit(self, picture: Picture) -> None:
        await self.free.wait()
        self.pictures.append(picture)


@pytest_asyncio.fixture
async def stream() -> SimulatedStream:
    return SimulatedStream()


@pytest_asyncio.fixture
async def door(stream: SimulatedStream) -> AsyncIterator[Ingest]:
    door = Ingest("studio", stream, lambda: Parameters(width=WIDTH, height=HEIGHT))  # type: ignore[arg-type]
    yield door
    await door.close()


def picture(value: int = 7, size: tuple[int, int] = (WIDTH, HEIGHT), channels: int = 3, pts: int = 0) -> Picture:
    pts = pts or time.monotonic_ns()
    return Picture(np.full((size[1], size[0], channels), value, np.uint8), pts, pts)


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_a_place_is_held_until_its_lease_ends_and_a_refusal_says_who_holds_it(door: Ingest) -> None:
    with door.claim("OBS") as lease:
        assert lease.on_air and door.source == "OBS"
        for enter in (door.claim, door.let_in):
            with pytest.raises(ParameterError, match=r"'studio'.*OBS gives it frames; choose another session"):
                enter("another")
    assert door.free and not lease.on_air and door.source == ""
    lease.end()  # a second time
    with pytest.raises(ValueError, match="broke"), door.claim("breaks"):
        raise ValueError("it broke")
    assert door.free


async def test_of_several_cameras_the_last_is_on_air_and_each_that_ends_gives_its_place_back(
    door: Ingest, stream: SimulatedStream
) -> None:
    own = door.claim("webcam", yields=True)
    first, second = door.let_in("first"), door.let_in("second")
    with pytest.raises(ParameterError, match="webcam gives it frames"):
        door.claim("a program")
    assert [lease.offer(picture()) for lease in (own, first, second)] == [False, False, True]
    first.end()  # one that waits goes without anybody noticing
    assert second.on_air
    second.end()
    assert own.on_air and door.source == "webcam"
    assert not first.offer(picture()) and not second.offer(picture())
    guest = door.let_in("third")
    own.end()
    with pytest.raises(ParameterError, match="third gives it frames"):
        door.claim("a program that does not yield")
    later = door.claim("a file", yields=True)
    assert guest.on_air and not later.on_air
    guest.end()
    assert later.offer(picture()) and len(stream.pictures) == 2


async def test_the_sound_is_that_of_the_lease_on_air(door: Ingest) -> None:
    own = door.claim("clip", yields=True)
    own.sound = Sound()
    with door.let_in("camera"):
        assert door.on_air is not None and door.on_air.sound is None
    assert door.on_air is own


async def test_a_frame_as_the_model_wants_it_goes_through_as_it_is(door: Ingest, stream: SimulatedStream) -> None:
    frame = picture()
    assert door.claim("camera").offer(frame)
    assert stream.pictures[0].image is frame.image
    assert (door.rate.total, stream.dropped) == (1, 0) and door.last_frame is not None


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (300, 200)])
@pytest.mark.parametrize("channels", [3, 4])
async def test_borrowed_memory_is_read_once_and_given_back(
    door: Ingest, stream: SimulatedStream, size: tuple[int, int], channels: int
) -> None:
    frame, released = picture(0, size, channels), []
    frame.image[..., :3] = (10, 20, 30)
    wanted = (10, 20, 30) if channels == 3 else (30, 20, 10)  # from BGRA

    def release() -> None:
        released.append(True)
        frame.image[:] = 255  # the owner fills it anew

    assert door.claim("bus").offer(frame, release)
    await until(lambda: stream.pictures)
    assert stream.pictures[0].image.shape == (HEIGHT, WIDTH, 3)
    assert (stream.pictures[0].image == wanted).all() and released == [True]


async def test_while_one_is_fitted_the_newest_waits_and_the_others_are_dropped_and_counted(
    door: Ingest, stream: SimulatedStream
) -> None:
    released: list[int] = []
    with door.claim("bus") as lease:
        for number in range(5):
            assert lease.offer(picture(number, (640, 480)), lambda number=number: released.append(number))
        assert lease.offer(picture(9)), "even one that fits does not overtake"
        await until(lambda: stream.pictures and stream.pictures[-1].image[0, 0, 0] == 9)
    seen = [int(each.image[0, 0, 0]) for each in stream.pictures]
    assert seen == sorted(seen) and sorted(released) == list(range(5))
    assert stream.dropped + len(seen) == door.rate.total == 6


async def test_a_frame_that_is_being_fitted_when_its_lease_ends_is_left_out(
    door: Ingest, stream: SimulatedStream
) -> None:
    released: list[bool] = []
    with door.claim("bus") as lease:
        lease.offer(picture(1, (640, 480)), lambda: released.append(True))
    assert not lease.offer(picture(2), lambda: released.append(True))
    await until(lambda: len(released) == 2)
    await asyncio.sleep(0.02)
    assert not stream.pictures


async def test_where_every_frame_counts_the_source_waits_and_times_are_kept() -> None:
    stream = SimulatedStream(live=False)
    stream.free.clear()
    door = Ingest("clip", stream, lambda: Parameters(width=WIDTH, height=HEIGHT))  # type: ignore[arg-type]
    lease = door.claim("clip:a.mp4")
    giving = asyncio.create_task(lease.submit(picture(3, (300, 200), pts=40)))
    await asyncio.sleep(0.05)
    assert not giving.done()
    stream.free.set()
    await giving
    assert (stream.pictures[0].pts, stream.pictures[0].image.shape) == (40, (HEIGHT, WIDTH, 3))
    with pytest.raises(ParameterError, match="frame by frame and takes no camera"):
        door.let_in("camera")
    await door.close()


@given(st.booleans(), st.lists(st.integers(-(2**62), 2**62) | st.integers(10**15, 10**15 + 99), max_size=20))
def test_times_increase_whoever_gives_them_and_are_near_in_a_live_session(live: bool, given_times: list[int]) -> None:
    clock, now, last = Clock(live), 10**15, -(2**63)
    for pts in given_times:
        stamped = clock.stamp(pts, now)
        assert stamped > last
        if live:
            assert now - FAR < stamped <= now + len(given_times)
        elif pts > last:
            assert stamped == pts
        last = stamped
