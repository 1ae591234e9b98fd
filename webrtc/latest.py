"""A place for one thing, where a newer one replaces it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """One writer, one reader, both on the event loop; the reader is never more than one thing behind.

    Attributes:
        replaced: how many were never taken.
        idle: the reader has dealt with everything.
    """

    def __init__(self) -> None:
        self._value: T | None = None
        self._arrived = asyncio.Event()
        self.replaced = 0
        self.idle = True

    def put(self, value: T) -> T | None:
        """Returns what it replaces."""
        replaced, self._value = self._value, value
        self.replaced += replaced is not None
        self.idle = False
        self._arrived.set()
        return replaced

    async def take(self) -> T:
        """Waits for the next one."""
        while self._value is None:
            self.idle = True
            self._arrived.clear()
            await self._arrived.wait()
        value, self._value = self._value, None
        return value
