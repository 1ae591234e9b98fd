"""How a picture of another shape becomes the model's: one scaler for every way in and out. Pure."""

from __future__ import annotations

import math
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


def fit_plane(
    plane: np.ndarray, of: tuple[int, int], width: int, height: int, fit: str, *, nearest: bool = False
) -> np.ndarray:
    """A plane of any size beside a picture of size `of`, (width, height), as `fit_image` shows the picture; bars are 0.

    `nearest`: pixels are picked, where there is nothing between two. The plane itself, no copy, if it fits already.
    """
    import cv2

    if plane.shape[:2] == (height, width) and of == (width, height):
        return plane
    part, place = part_and_place(of, (width, height), fit)
    own = _scaled_box(part, plane.shape[1] / of[0], plane.shape[0] / of[1]).of(plane)
    out = np.zeros((height, width, *plane.shape[2:]), plane.dtype)
    smaller = own.shape[0] > place.height and own.shape[1] > place.width
    how = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    cv2.resize(own, (place.width, place.height), dst=place.of(out), interpolation=how)
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


def _scaled_box(box: Box, across: float, down: float) -> Box:
    """The same part of a picture with so many pixels for one each way, at least one of them."""
    left, top = math.floor(box.left * across), math.floor(box.top * down)
    return Box(left, top, max(1, round(box.width * across)), max(1, round(box.height * down)))
