"""How a picture of another shape becomes the model's: one scaler for every way in and out. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """That part of `image`, as a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def part_and_place(have: tuple[int, int], want: tuple[int, int], fit: str) -> tuple[Box, Box]:
    """Which part of a picture of size `have` is shown, and where it lies in one of size `want`; (width, height) each.

    `cover` fills `want` and cuts what stands over off evenly, `contain` shows everything between two bars, `stretch`
    shows everything and changes its shape. Whole pixels, at least one each way.
    """
    whole, everywhere = Box(0, 0, *have), Box(0, 0, *want)
    if fit == "cover":
        scale = max(want[0] / have[0], want[1] / have[1])
        return _amid(have, want[0] / scale, want[1] / scale), everywhere
    if fit == "contain":
        scale = min(want[0] / have[0], want[1] / have[1])
        return whole, _amid(want, have[0] * scale, have[1] * scale)
    return whole, everywhere


def fit_image(
    image: np.ndarray, width: int, height: int, fit: str = "cover", out: np.ndarray | None = None
) -> np.ndarray:
    """`image` (H, W, C) u8 scaled to (height, width, C) as `fit`, a value of `Parameters.fit`, says; bars are black.

    Into `out` where it is given; otherwise `image` itself, no copy, if it has that size already.
    """
    import cv2

    have = image.shape[1], image.shape[0]
    if have == (width, height):
        if out is None:
            return image
        np.copyto(out, image)
        return out
    part, place = part_and_place(have, (width, height), fit)
    if out is None:
        out = np.empty((height, width, *image.shape[2:]), image.dtype)
    # Averaging areas costs four times as much and shows only where pixels would be left out.
    far = min(part.width / place.width, part.height / place.height) >= 2
    how = cv2.INTER_AREA if far else cv2.INTER_LINEAR
    cv2.resize(part.of(image), (place.width, place.height), dst=place.of(out), interpolation=how)
    blacken_bars(out, place)
    return out


def place_in(image: np.ndarray, width: int, height: int, fit: str) -> Box | None:
    """Where `image` lies in its picture from `fit_image` where that has bars, else None."""
    _, place = part_and_place((image.shape[1], image.shape[0]), (width, height), fit)
    return None if place[2:] == (width, height) else place


def blacken_bars(image: np.ndarray, place: Box) -> None:
    """Everything of `image` beside `place` becomes black."""
    image[: place.top] = image[place.top + place.height :] = 0
    image[:, : place.left] = image[:, place.left + place.width :] = 0


def _amid(outer: tuple[int, int], width: float, height: float) -> Box:
    """In the middle of a picture of size `outer`."""
    wide, high = min(outer[0], max(1, round(width))), min(outer[1], max(1, round(height)))
    return Box((outer[0] - wide) // 2, (outer[1] - high) // 2, wide, high)
