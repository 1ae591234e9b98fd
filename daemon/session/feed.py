"""Moves the frames of a source that is pulled (clip, webcam, test picture) into a session."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

from driftcam.daemon.frames import Picture
from driftcam.daemon.session.ingest import Lease
from driftcam.daemon.session.session import Session
from driftcam.daemon.sources import Source


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
    loop = asyncio.get_running_loop()
    frames = iter(source.frames(stop, paced=session.live))
    thread = ThreadPoolExecutor(1, thread_name_prefix="driftcam-source")
    try:
        while (picture := await loop.run_in_executor(thread, _next, frames, session, lease)) is not None:
            yield picture
    finally:
        stop.set()
        closing = getattr(frames, "close", lambda: None)
        await asyncio.shield(loop.run_in_executor(thread, closing))
        thread.shutdown(wait=False)


def _next(frames: Iterator[Picture], session: Session, lease: Lease) -> Picture | None:
    """In the thread."""
    start = time.perf_counter()
    picture = next(frames, None)
    if picture is None:
        return None
    ready = lease.fitted(picture)
    session.source_ms.add((time.perf_counter() - start) * 1000)
    return ready
