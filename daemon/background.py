"""Work in the background, which nobody waits for: none of it ends on a mistake without a word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

AGAIN_FIRST, AGAIN_MOST = 1.0, 60.0  # seconds
log = logging.getLogger("driftcam")


def start(
    work: Coroutine[Any, Any, None], about: str, on_failure: Callable[[], object] = lambda: None
) -> asyncio.Task[None]:
    """Do it once. What it raises is logged; `on_failure` brings those who rely on it to know."""
    task = asyncio.create_task(work)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", about, exc_info=error)
            on_failure()

    task.add_done_callback(ended)
    return task


def keep(work: Callable[[], Coroutine[Any, Any, None]], about: str) -> asyncio.Task[None]:
    """Do it until it returns or is cancelled. What it raises is logged, and it begins anew after a while."""

    async def going_on() -> None:
        delay = AGAIN_FIRST
        while True:
            try:
                return await work()
            except Exception:
                log.exception("%s failed; it goes on in %g s", about, delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, AGAIN_MOST)

    return asyncio.create_task(going_on())
