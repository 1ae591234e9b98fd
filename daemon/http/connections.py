"""Connections that were opened and never ask for anything: they are closed, so that they cannot use up descriptors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

TIMEOUT = 20.0  # seconds from a connection to its first whole request
EVERY = 2.0


class IdleTimeout:
    """`sweep` is told which connections there are, `asked` which of them have sent a request."""

    def __init__(self) -> None:
        self._asked: set[Hashable] = set()
        self._since: dict[Hashable, float] = {}

    def asked(self, connection: Hashable) -> None:
        """A whole request came over it."""
        self._asked.add(connection)

    def overdue(self, connections: Iterable[Hashable], now: float) -> list[Any]:
        """Those without a request for too long. Pure but for what it remembers, which is bounded by what is open."""
        there = set(connections)
        self._asked &= there
        self._since = {each: self._since.get(each, now) for each in there - self._asked}
        return [each for each, since in self._since.items() if now - since > TIMEOUT]

    async def sweep(self, connections: Callable[[], Iterable[Any]]) -> None:
        """Until it is cancelled; `connections` gives aiohttp's protocols."""
        while True:
            await asyncio.sleep(min(EVERY, TIMEOUT))
            for connection in self.overdue(connections(), time.monotonic()):
                if connection.transport is not None:
                    connection.transport.abort()
