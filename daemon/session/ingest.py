"""The door through which frames come into a session: who gives them, at what size and with which times."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from driftcam.daemon import background
from driftcam.daemon.engine.stream import SessionStream
from driftcam.daemon.frames import Picture, fitted
from driftcam.daemon.measure import Patience
from driftcam.daemon.session.waiting import KEEP
from driftcam.daemon.sound import Sound
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.planes import Plane
from driftcam.engines.api.shift import NO_SHIFT, Shift
from driftcam.webrtc.latest import Latest
from driftcam.webrtc.measure import Rate

FAR = 60 * 10**9  # ns between a frame's capture and its arrival that cannot be
QUICK_AREA = 512 * 512


def kept() -> None:
    """Nobody waits for a frame's memory: the session may keep it."""


class Offered(NamedTuple):
    """A live frame at the door; `release` is called when its memory was read."""

    lease: Lease
    picture: Picture
    release: Callable[[], None]


class Clock:
    """The times of a session's frames: strictly increasing whoever gives them, and in a live one just before now, also
    from a client that makes up its own. The clock is passed in."""

    def __init__(self, live: bool) -> None:
        self._live = live
        self._last = -(2**63)

    def stamp(self, pts: int, now: int) -> int:
        """What the engine and files are told instead of `pts`, in ns."""
        near = pts if not self._live or now - FAR < pts <= now else now
        self._last = max(near, self._last + 1)
        return self._last


class Lease:
    """A place at the door, from `Ingest.claim` or `let_in` to `end`, which leaving a `with` calls.

    Attributes:
        holder: who gives the frames, for people.
        sound: what belongs to them, for sinks that carry sound; None where there is none.
        pauses: how long none may come before that is worth a word.
    """

    def __init__(self, door: Ingest, holder: str, *, yields: bool, guest: bool) -> None:
        self.holder, self.yields, self.guest = holder, yields, guest
        self.sound: Sound | None = None
        self.pauses = Patience(KEEP)
        self._door = door

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def on_air(self) -> bool:
        """Whether its frames are the session's; those of a lease that waits or has ended are left out."""
        return self._door.on_air is self

    def offer(self, picture: Picture, release: Callable[[], None] = kept) -> bool:
        """A live frame of any size, RGB or, with four channels, BGRA. From the event loop; never waits.

        The newest wins; False says that this one was dropped at once. `release` is called when its memory was read or
        is not wanted any more; without it the session keeps the image: do not write to it.
        """
        return self._door.offer(Offered(self, picture, release))

    async def submit(self, picture: Picture) -> None:
        """A frame that must not be lost; waits for room."""
        await self._door.submit(self, picture)

    def fitted(self, picture: Picture) -> Picture:
        """`picture` as the model wants it, for whoever has a thread to spare. May be called from any."""
        return self._door.fitted(picture)

    def end(self) -> None:
        """Its place is free again; whoever had to make room goes on. Nothing happens the second time."""
        self._door.give_back(self)


class Ingest:
    """One session's door. One lease is on air: that of the last guest, or else the source's.

    Attributes:
        rate: of the frames that came in, and how many.
        last_frame: monotonic seconds of the newest one, None before the first.
    """

    def __init__(
        self,
        name: str,
        stream: SessionStream,
        parameters: Callable[[], Parameters],
        wanted: Callable[[], Mapping[str, Plane]] = dict,
        on_frame: Callable[[Picture], None] = lambda picture: None,
        shift: Callable[[Picture], Shift] = lambda picture: NO_SHIFT,
    ) -> None:
        self._name, self._stream, self._parameters, self._wanted = name, stream, parameters, wanted
        self._on_frame, self._shift = on_frame, shift
        self._given: tuple[Lease, Picture] | None = None
        self._clock = Clock(stream.live)
        self._source: Lease | None = None
        self._guests: list[Lease] = []
        self._newest: Latest[Offered] = Latest()
        self._fitting = background.keep(self._fit, f"{name}: fitting frames")
        self.rate = Rate()
        self.last_frame: float | None = None

    @property
    def on_air(self) -> Lease | None:
        return self._guests[-1] if self._guests else self._source

    @property
    def newest(self) -> Picture | None:
        """The last live frame of whoever is on air, fitted."""
        lease, picture = self._given or (None, None)
        return picture if lease is self.on_air else None

    @property
    def source(self) -> str:
        """Who gives the session its own frames, or empty."""
        return self._source.holder if self._source is not None else ""

    @property
    def free(self) -> bool:
        """Nobody has a place."""
        return self.on_air is None

    def claim(self, holder: str, *, yields: bool = False) -> Lease:
        """`holder` gives this session frames from now on; `yields`: guests may take its place for a while.

        Raises `ParameterError` while another does, or while there is a guest that it would not yield to.
        """
        self._refuse(self._source)
        if not yields:
            self._refuse(self.on_air)
        self._source = lease = Lease(self, holder, yields=yields, guest=False)
        return lease

    def check_guest(self) -> None:
        """Raises `ParameterError` where no guest is let in."""
        if not self._stream.live:
            advice = "it works through a clip frame by frame and takes no camera; choose another session"
            raise ParameterError("session", self._name, advice)
        if self._source is not None and not self._source.yields:
            self._refuse(self._source)

    def let_in(self, holder: str) -> Lease:
        """`holder`'s frames take the place of the source's and of other guests' until the lease ends.

        Raises as `check_guest` does.
        """
        self.check_guest()
        self._guests.append(Lease(self, holder, yields=True, guest=True))
        return self._guests[-1]

    def give_back(self, lease: Lease) -> None:
        """It has ended."""
        if lease is self._source:
            self._source = None
        elif lease in self._guests:
            self._guests.remove(lease)

    def offer(self, offered: Offered) -> bool:
        """See `Lease.offer`."""
        if offered.lease is not self.on_air:
            offered.release()
            return False
        self._count(offered.lease)
        if self._newest.idle and self._quick(offered):
            ready = self._owned(offered)
            offered.release()
            return self._give(offered.lease, ready)
        if (replaced := self._newest.put(offered)) is not None:
            self._stream.dropped += 1
            replaced.release()
        return True

    async def submit(self, lease: Lease, picture: Picture) -> None:
        """See `Lease.submit`."""
        if lease is not self.on_air:
            return
        self._count(lease)
        ready = picture if self._fits(picture) else await asyncio.to_thread(self.fitted, picture)
        await self._stream.submit(self._stamped(ready))

    def fitted(self, picture: Picture) -> Picture:
        """See `Lease.fitted`."""
        parameters = self._parameters()
        return fitted(picture, parameters.width, parameters.height, parameters.fit, self._wanted())

    async def close(self) -> None:
        """Nothing comes in any more."""
        self._fitting.cancel()
        await asyncio.gather(self._fitting, return_exceptions=True)

    # -------------------------------------------------------------------------------------------

    def _refuse(self, holding: Lease | None) -> None:
        if holding is not None:
            advice = f"{holding.holder} gives it frames; choose another session"
            raise ParameterError("session", self._name, advice)

    def _count(self, lease: Lease) -> None:
        self.last_frame = time.monotonic()
        lease.pauses.came(self.last_frame)
        self.rate.add(self.last_frame)

    def _fits(self, picture: Picture) -> bool:
        parameters = self._parameters()
        return picture.image.shape == (parameters.height, parameters.width, 3) and not picture.planes

    def _quick(self, offered: Offered) -> bool:
        """Whether there is nothing to do, or a change of format alone, done (some hundredths of a millisecond) sooner
        than a thread is woken."""
        if offered.release is kept and self._fits(offered.picture):
            return True
        parameters, picture = self._parameters(), offered.picture
        size = height, width = picture.image.shape[:2]
        if (width, height) != (parameters.width, parameters.height) or width * height > QUICK_AREA:
            return False
        return not picture.planes or all(plane.shape[:2] == size for plane in picture.planes.values())

    def _owned(self, offered: Offered) -> Picture:
        """May be called from any thread."""
        ready = self.fitted(offered.picture)
        if offered.release is kept:
            return ready
        if ready.image is offered.picture.image:
            ready = dataclasses.replace(ready, image=ready.image.copy())
        if ready.planes:
            given = offered.picture.planes
            own = {name: plane.copy() if plane is given.get(name) else plane for name, plane in ready.planes.items()}
            ready = dataclasses.replace(ready, planes=own)
        return ready

    def _give(self, lease: Lease, ready: Picture) -> bool:
        """A live frame goes its way; False when the engine had no room."""
        picture = self._stamped(ready)
        self._given = lease, picture
        self._on_frame(picture)
        return self._stream.offer(picture)

    def _stamped(self, picture: Picture) -> Picture:
        pts = self._clock.stamp(picture.pts, time.monotonic_ns())
        captured = pts if self._stream.live else picture.captured
        stamped = dataclasses.replace(picture, pts=pts, captured=captured, given_pts=picture.pts)
        shift = self._shift(stamped)
        return dataclasses.replace(stamped, shift=shift) if shift else stamped

    async def _fit(self) -> None:
        """Fit the newest frame in a thread, for as long as the session lives."""
        while True:
            offered = await self._newest.take()
            try:
                ready = await asyncio.to_thread(self._owned, offered)
            finally:
                offered.release()
            if offered.lease is self.on_air:
                self._give(offered.lease, ready)
