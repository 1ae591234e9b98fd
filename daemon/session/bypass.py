"""Whether sinks get the untouched picture, and the short way back to the stylised one. Pure, the clock passed in."""

from __future__ import annotations

import cv2
import numpy as np

FADE = 0.4  # seconds of the way back
LINEAR = 65535  # of full light, so that dark tones survive the way there and back


class Bypass:
    """Off at first. It is no parameter of the look: no preset keeps it, and the engine hears nothing of it.

    Attributes:
        on: what was asked for.
        direct: frames go to the sinks without the engine; after `on` until the engine has given its next result, so
            that a dead or slow one never leaves a gap.
    """

    def __init__(self) -> None:
        self.on = self.direct = False
        self._began: float | None = None  # the way back, monotonic seconds

    def switch(self, on: bool) -> None:
        if on != self.on:
            self.on, self._began = on, None
            self.direct = on or self.direct

    def share(self, now: float) -> float:
        """How much of the stylised picture a result that comes now shows: 0 to 1, never falling on the way back."""
        if self.on:
            return 0.0
        if self.direct:
            self.direct, self._began = False, now
        if self._began is None:
            return 1.0
        if (share := (now - self._began) / FADE) >= 1:
            self._began = None
        return min(share, 1.0)


def blended(untouched: np.ndarray, stylised: np.ndarray, share: float) -> np.ndarray:
    """RGB (h, w, 3) u8 of `stylised`'s size: that much of it over `untouched`.

    Light is mixed, not sRGB's numbers, whose middle is darker than both pictures where they differ: a flash.
    """
    height, width = stylised.shape[:2]
    if untouched.shape != stylised.shape:  # it was made while the size changed
        untouched = cv2.resize(untouched, (width, height), interpolation=cv2.INTER_AREA)
    light = [cv2.LUT(image, _TO_LIGHT) for image in (untouched, stylised)]
    return _FROM_LIGHT[cv2.addWeighted(light[0], 1 - share, light[1], share, 0)]


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """sRGB to light and back (IEC 61966-2-1)."""
    srgb, light = np.arange(256) / 255, np.arange(LINEAR + 1) / LINEAR
    there = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    back = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(there * LINEAR).astype(np.uint16), np.rint(back * 255).astype(np.uint8)


_TO_LIGHT, _FROM_LIGHT = _tables()
