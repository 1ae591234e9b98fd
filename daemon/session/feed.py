"""Moves the frames of a source that is pulled (clip, webcam, test picture) into a session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator

from driftcam.daemon.config.specs import Spec
from driftcam.daemon.frames import Picture
from driftcam.daemon.loose import LooseThread, loosely
from driftcam.daemon.measure import Patience
from driftcam.daemon.session.ingest import Lease
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.waiting import KEEP
from driftcam.daemon.sources import Source
from driftcam.daemon.sources.opening import open_source

LOOK_S, LEAVE_S = 0.25, 0.7  # how often a source that brings nothing is asked, and how long it has to stop

log = logging.getLogger("driftcam")


async def open_loosely(spec: Spec, notify: Callable[[str], None], stop: threading.Event) -> Source:
    """As `open_source`, in a thread that is left behind when this is cancelled; `stop` is set then."""
    try:
        return await loosely(_open, spec, notify, stop)
    except asyncio.CancelledError:
        stop.set()
        raise


def _open(spec: Spec, notify: Callable[[str], None], stop: threading.Event) -> Source:
    """In the thread."""
    source = open_source(spec, notify, stop)
    if stop.is_set():
        source.close()
    return source


async def feed(
    source: Source,
    session: Session,
    lease: Lease,
    stop: threading.Event,
    limit: int | None = None,
    *,
    last: bool = True,
) -> None:
    """Until the source ends or `stop` is set; of a session that is not live until `limit` frames at most.

    Frames are read and fitted in a thread of their own. `last`: no other source will follow, so the session ends too.
    """
    count = 0
    lease.pauses = Patience(KEEP, 1 / source.info.fps)
    async with contextlib.aclosing(_pictures(source, session, lease, stop)) as pictures:
        async for picture in pictures:
            if session.live:
                lease.offer(picture)
            else:
                await lease.submit(picture)
                count += 1
                if count == limit:
                    break
    if last:
        await session.finish()


async def _pictures(
    source: Source, session: Session, lease: Lease, stop: threading.Event
) -> AsyncGenerator[Picture, None]:
    """Frames at the model's size."""
    frames = iter(source.frames(stop, paced=session.live))
    thread = LooseThread("driftcam-source")
    try:
        while (picture := await _unless(stop, thread.call(_next, frames, session, lease))) is not None:
            yield picture
    finally:
        stop.set()
        closed = thread.call(getattr(frames, "close", lambda: None))
        thread.end()
        if not (await asyncio.shield(asyncio.wait([closed], timeout=LEAVE_S)))[0]:
            closed.cancel()
            log.warning("%s does not stop: it is left behind", lease.holder)


async def _unless(stop: threading.Event, coming: asyncio.Future[Picture | None]) -> Picture | None:
    """What comes, or None when `stop` was set before."""
    while not (await asyncio.wait([coming], timeout=LOOK_S))[0]:
        if stop.is_set():
            return None
    return coming.result()


def _next(frames: Iterator[Picture], session: Session, lease: Lease) -> Picture | None:
    """In the thread."""
    start = time.perf_counter()
    picture = next(frames, None)
    if picture is None:
        return None
    ready = lease.fitted(picture)
    session.source_ms.add((time.perf_counter() - start) * 1000)
    return ready
