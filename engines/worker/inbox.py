"""Messages that wait for the engine: in order within a stream, fair between streams."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from driftcam.engines.api.bus import Message, MessageType


class Inbox:
    """In a live stream at most one of the waiting messages is a frame: the newest (latest wins).

    `release` is called with each frame that a newer one replaced.
    """

    def __init__(self, release: Callable[[Message], None]) -> None:
        self._release = release
        self._waiting: dict[int, deque[Message]] = {}
        self._arrived = threading.Condition()

    def put(self, message: Message, *, live: bool = False) -> None:
        """Called by the reader. `live` with a frame of a live stream."""
        stale: list[Message] = []
        with self._arrived:
            queue = self._waiting.setdefault(message.stream, deque())
            if live and message.type is MessageType.FRAME:
                stale = [m for m in queue if m.type is MessageType.FRAME]
                for old in stale:
                    queue.remove(old)
            queue.append(message)
            self._arrived.notify()
        for old in stale:
            self._release(old)

    def take(self) -> list[Message]:
        """Called by the engine's thread; waits. The next message of every stream that has one.

        So a stream waits at most for one message of each other stream, however much those send.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting)
            round_ = [queue.popleft() for queue in self._waiting.values()]
            self._waiting = {number: queue for number, queue in self._waiting.items() if queue}
        return round_
