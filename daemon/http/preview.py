"""The newest result as JPEGs, encoded once however many look, and not at all when nobody does."""

from __future__ import annotations

import asyncio
import itertools
import time
from enum import StrEnum

import cv2
import numpy as np

from driftcam.daemon.frames import Picture, Result

QUALITY = 85


class Side(StrEnum):
    """Which picture."""

    RESULT = "result"
    SOURCE = "source"


class Preview:
    """Listens to a session and holds one result; readers that are late skip to the newest."""

    def __init__(self) -> None:
        self._result: Result | None = None
        self._arrived = asyncio.Event()
        self._ended = False
        self._placeholders = itertools.count(-1, -1)  # numbers that no result has
        self._encoded: dict[Side, tuple[int, asyncio.Future[bytes]]] = {}

    def show(self, result: Result) -> None:
        self._result = result
        self._wake()

    def show_placeholder(self, image: np.ndarray) -> None:
        now = time.monotonic_ns()
        self.show(Result(image, Picture(image, now, now), next(self._placeholders), False, 0.0, now))

    def end(self) -> None:
        """No result will follow; readers are let go."""
        self._ended = True
        self._wake()

    async def after(self, sequence: int) -> Result | None:
        """The newest result, as soon as it is not number `sequence`; None when no other will come."""
        while not self._ended and (self._result is None or self._result.sequence == sequence):
            await self._arrived.wait()
        return None if self._ended else self._result

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def jpeg(self, result: Result, side: Side) -> bytes:
        """`result` as JPEG, in a thread."""
        sequence, encoding = self._encoded.get(side, (-1, None))
        if encoding is None or sequence != result.sequence:
            image = result.image if side is Side.RESULT else result.source.image
            encoding = asyncio.get_running_loop().run_in_executor(None, encode_jpeg, image)
            self._encoded[side] = result.sequence, encoding
        return await asyncio.shield(encoding)


def encode_jpeg(image: np.ndarray) -> bytes:
    """RGB to JPEG."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()
