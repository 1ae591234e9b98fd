"""Makes the pictures between a session's results (`Parameters.smooth`) and shows all of them at their times."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import cv2
import numpy as np

from driftcam.daemon import background
from driftcam.daemon.frames import Result, keep_bars
from driftcam.daemon.smooth.between import Between
from driftcam.daemon.smooth.pace import FAR, SECOND, Grid, Pace
from driftcam.engines.api.planes import ALPHA, MOTION, NO_PLANES

KEPT = 8  # results: more never wait
NEAR = 1 / 16  # of the way: as good as there, and sharper


class Smoother:
    """Of one session. Nothing happens, and nothing is kept, where no rate is asked for.

    Call everything from the event loop; pictures are made in a thread.

    Args:
        show: hands a live session's picture on.
        about: for the log.
    """

    def __init__(self, show: Callable[[Result], None], about: str) -> None:
        self._show, self._about = show, about
        self._between = Between()
        self._making = threading.Lock()
        self._used: tuple[Result, Result] | None = None
        self._grid: Grid | None = None
        self._pace: Pace | None = None
        self._rate = 0.0
        self._queue: deque[Result] = deque(maxlen=KEPT)
        self._shown: Result | None = None
        self._beating: asyncio.Task[None] | None = None

    def take(self, result: Result, rate: float) -> None:
        """A live result. It is shown at once where no pictures lie between it and the next, else at its time."""
        self._ask(rate)
        if self._pace is not None:
            self._pace.came(result.source.captured, time.monotonic_ns())
        if self._pace is None or not self._pace.made:
            self.clear()
            self._show(result)
            return
        self._queue.append(result)
        if self._beating is None or self._beating.done():
            self._beating = background.start(self._beat(self._pace), f"{self._about}: smooth motion", self.clear)

    async def through(self, result: Result, rate: float) -> AsyncIterator[Result]:
        """What a session in which no frame is lost shows up to this result, in order and at an even rate.

        Where nothing moves, and before a cut, a picture is shown again.
        """
        self._ask(rate)
        before, self._shown = self._shown, result
        if self._grid is None:
            yield result
            return
        for pts in self._grid.times(result.source.pts):
            if pts == result.source.pts or before is None:
                yield result
                continue
            start = before.source.pts
            share = (pts - start) / (result.source.pts - start)
            if share >= 1 - NEAR or not _joined(before, result):
                nearest = result if share >= 1 - NEAR else before
                yield dataclasses.replace(nearest, source=dataclasses.replace(nearest.source, pts=pts))
            else:
                yield await asyncio.to_thread(self._made, before, result, share, pts)

    def clear(self) -> None:
        """What was not shown yet never will be."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        self._queue.clear()
        self._shown = None

    async def close(self) -> None:
        beating = self._beating
        self.clear()
        if beating is not None:
            await asyncio.gather(beating, return_exceptions=True)

    # -------------------------------------------------------------------------------------------

    def _ask(self, rate: float) -> None:
        if rate == self._rate:
            return
        self.clear()
        self._rate = rate
        self._between = Between()
        self._grid, self._pace = (Grid(rate), Pace(rate)) if rate else (None, None)

    async def _beat(self, pace: Pace) -> None:
        """Until the newest result has been shown for a while."""
        due = time.monotonic_ns()
        while self._queue and not (self._queue[-1] is self._shown and _age(self._shown) > SECOND):
            await asyncio.sleep(max(0, due - time.monotonic_ns()) / SECOND)
            now = time.monotonic_ns()
            due = pace.next_due(due, now)
            moment = pace.moment(now)
            if moment is not None and (picture := await self._at(moment)) is not None:
                self._show(dataclasses.replace(picture, arrived=time.monotonic_ns()))

    async def _at(self, moment: int) -> Result | None:
        """The picture of that moment, None where nothing newer is to be shown."""
        queue = self._queue
        if len(queue) == KEPT:
            moment = max(moment, queue[0].source.captured)
        while len(queue) > 1 and (queue[1].source.captured <= moment or _gap(queue) > FAR):
            queue.popleft()
        before, after = queue[0], queue[1] if len(queue) > 1 else None
        share = 0.0 if after is None else (moment - before.source.captured) / _gap(queue)
        if after is not None and NEAR < share < 1 - NEAR and _joined(before, after):
            return await asyncio.to_thread(self._made, before, after, share, moment)
        if after is not None and share >= 1 - NEAR:
            queue.popleft()
            before = after
        if before is self._shown or moment < before.source.captured - NEAR * SECOND / self._rate:
            return None
        self._shown = before
        return before

    def _made(self, before: Result, after: Result, share: float, pts: int) -> Result:
        """In a thread."""
        planes = NO_PLANES
        with self._making:
            if self._used is None or self._used[0] is not before or self._used[1] is not after:
                self._used = before, after
                pictures = _with_alpha(before), _with_alpha(after)
                if pictures[0].shape != pictures[1].shape:
                    pictures = before.image, after.image
                self._between.use(*pictures, after.planes[MOTION])
            image = self._between.at(share)
        if image.shape[2] == 4:
            image, planes = cv2.cvtColor(image, cv2.COLOR_RGBA2RGB), {ALPHA: cv2.extractChannel(image, 3)}
        nearest, first, last = after if share > 0.5 else before, before.source, after.source
        given = round(first.given_pts + share * (last.given_pts - first.given_pts))
        captured = round(first.captured + share * (last.captured - first.captured))
        source = dataclasses.replace(nearest.source, pts=pts, captured=captured, given_pts=given)
        result = dataclasses.replace(nearest, image=image, source=source, planes=planes)
        keep_bars(result)
        return result


def _age(result: Result) -> int:
    return time.monotonic_ns() - result.arrived


def _gap(queue: deque[Result]) -> int:
    return queue[1].source.captured - queue[0].source.captured


def _joined(before: Result, after: Result) -> bool:
    """Whether anything lies between two results: no cut, and something moves."""
    return MOTION in after.planes and before.image.shape == after.image.shape


def _with_alpha(result: Result) -> np.ndarray:
    """Its picture, with its alpha where it has one of its size."""
    alpha = result.planes.get(ALPHA, result.source.planes.get(ALPHA))
    if alpha is None or alpha.shape != result.image.shape[:2]:
        return result.image
    return np.dstack((result.image, alpha))
