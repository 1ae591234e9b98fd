"""The frames that an engine has and the results that it gave, joined."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from driftcam.daemon.engine.link import StreamLink
from driftcam.daemon.frames import Picture, Result
from driftcam.engines.api.bus import BusError, Message
from driftcam.engines.api.planes import MOTION, NO_PLANES, Planes


class FramesInFlight:
    """Of one stream, over all the engines that it goes through."""

    def __init__(self) -> None:
        self._pending: OrderedDict[int, Picture] = OrderedDict()
        self._results: asyncio.Queue[tuple[StreamLink, Message] | None] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._last: tuple[StreamLink | None, int] = None, 0  # who gave the newest result, and which of its frames it is

    @property
    def frames_waiting(self) -> int:
        """That the engine has and gave no result for yet."""
        return len(self._pending)

    @property
    def results_waiting(self) -> int:
        """That nobody has taken yet."""
        return self._results.qsize()

    def offer(self, port: StreamLink, picture: Picture) -> bool:
        """Give the engine a frame. False when there is no room."""
        if not _give(port, picture):
            return False
        self._pending[picture.pts] = picture
        return True

    async def give_again(self, port: StreamLink) -> bool:
        """The frames without a result, in order, before any new one. False when the engine ended meanwhile."""
        for picture in list(self._pending.values()):
            while not port.gone and not _give(port, picture):
                await room(port)
        return not port.gone

    def drop(self, pts: int) -> None:
        """No result will come for that frame."""
        self._pending.pop(pts, None)

    def clear(self) -> None:
        """Nor for any of those that a live stream gave before."""
        self._pending.clear()

    def arrive(self, port: StreamLink, message: Message) -> None:
        """A RESULT; there are no more of them than the engine has slots."""
        self._results.put_nowait((port, message))

    def end(self) -> None:
        """No result will follow."""
        self._results.put_nowait(None)

    def untouched(self, picture: Picture) -> Result:
        """A result that shows the frame itself, counted as those of the engine are."""
        number, now = next(self._numbers), time.monotonic_ns()
        return Result(picture.image, picture, number, skipped=False, process_ms=0.0, arrived=now)

    async def results(self, broken: Callable[[StreamLink, BusError], None]) -> AsyncIterator[Result]:
        """In order, until `end`. `broken` hears of those that cannot be read."""
        while (item := await self._results.get()) is not None:
            port, message = item
            picture = self._pending.get(message.pts)
            if port.gone:
                continue  # of an engine that is gone, whose frames were given to the next
            try:
                image, planes = port.take(message)
            except BusError as error:
                broken(port, error)
                continue
            if picture is None:
                continue  # an answer to nothing we asked
            if MOTION in planes and not self._follows(port, message):
                planes = {name: plane for name, plane in planes.items() if name != MOTION}
            self._last = port, int(message.body.get("index", 0))
            for pts in [pts for pts in self._pending if pts <= message.pts]:
                del self._pending[pts]
            yield Result(
                image=image,
                source=picture,
                sequence=next(self._numbers),
                skipped=bool(message.body.get("skipped")),
                process_ms=float(message.body.get("process_ms", 0.0)),
                arrived=time.monotonic_ns(),
                planes=planes,
            )

    def _follows(self, port: StreamLink, message: Message) -> bool:
        """Whether it is of the frame next to that of the result before: none was dropped between them."""
        return self._last == (port, int(message.body.get("index", 0)) - 1)


def _give(port: StreamLink, picture: Picture) -> bool:
    return port.offer(picture.image, picture.pts, read_by(port, picture), picture.shift)


async def room(port: StreamLink) -> None:
    """Wait until the engine may have room for a frame, or has ended."""
    port.room.clear()
    if not port.gone:
        await port.room.wait()


def read_by(port: StreamLink, picture: Picture) -> Planes:
    """The planes of a frame that the engine reads."""
    if not picture.planes:
        return NO_PLANES
    return {name: plane for name, plane in picture.planes.items() if name in port.planes}
