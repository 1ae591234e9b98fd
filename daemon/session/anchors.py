"""The kept looks of a session: its anchors, and a small picture of each that was kept here."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import cv2
import numpy as np

from driftcam.daemon.session.control import Control
from driftcam.engines.api import ParameterError
from driftcam.engines.api.anchors import MAX_ANCHORS, anchor_of

SIDE, QUALITY = 192, 85  # pixels of the longer side, and of JPEG
_PICTURES = 32  # remembered: looks that are left and come back have theirs again

Anchor = tuple[float, ...]


class Anchors:
    """`Parameters.anchors` is what counts; it may be changed by others at any time."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._changing = asyncio.Lock()
        self._pictures: OrderedDict[Anchor, bytes] = OrderedDict()

    @property
    def all(self) -> tuple[Anchor, ...]:
        return self._control.parameters.anchors

    async def keep(self, picture: np.ndarray) -> None:
        """Hold the look of an (H, W, 3) u8 RGB picture from now on, beside those that are kept. Raises
        `ParameterError` where there are `MAX_ANCHORS` already.
        """
        async with self._changing:
            if len(self.all) >= MAX_ANCHORS:
                raise ParameterError("anchors", f"{len(self.all)} of them", "take one away first")
            anchor, small = await asyncio.to_thread(lambda: (anchor_of(picture), _thumbnail(picture)))
            await self._control.change({"anchors": (*self.all, anchor)})
            self._pictures[anchor] = small
            while len(self._pictures) > _PICTURES:
                self._pictures.popitem(last=False)

    async def drop(self, number: int) -> None:
        """Raises `ParameterError` where there is none of this number, which counts from 0."""
        async with self._changing:
            self.anchor(number)
            await self._control.change({"anchors": self.all[:number] + self.all[number + 1 :]})

    async def clear(self) -> None:
        async with self._changing:
            await self._control.change({"anchors": ()})

    def anchor(self, number: int) -> Anchor:
        """Raises `ParameterError` where there is none of this number."""
        if not 0 <= number < len(self.all):
            there = f"there are 0 to {len(self.all) - 1}" if self.all else "no look is kept"
            raise ParameterError("anchor", number, there)
        return self.all[number]

    def picture(self, anchor: Anchor) -> bytes | None:
        """A JPEG; None where its look came from elsewhere, such as a preset."""
        return self._pictures.get(anchor)


def _thumbnail(picture: np.ndarray) -> bytes:
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()
