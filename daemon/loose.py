"""A thread that may be left behind: what it calls may block for longer than anybody waits."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LooseThread:
    """Runs calls one after another. Unlike a pool's, it keeps neither the event loop nor the process from ending."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """From the event loop. Cancelling what it returns drops a call that has not begun yet."""
        future: Future[T] = Future()
        self._calls.put((future, lambda: function(*args)))
        return asyncio.wrap_future(future)

    def end(self) -> None:
        """After the calls so far."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del call, future, function  # nothing is kept until the next call


async def loosely(function: Callable[..., T], *args: Any) -> T:
    """As `asyncio.to_thread`, in a thread that is left behind when this is cancelled."""
    thread = LooseThread(f"driftcam-{function.__name__.strip('_')}")
    try:
        return await thread.call(function, *args)
    finally:
        thread.end()
