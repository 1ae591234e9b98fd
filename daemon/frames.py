"""Pictures on their way through the daemon, and the shape they get on it. Pure."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

DEFAULT_AREA = 384 * 384
GRAIN = 32  # pixels per cell of the model's coarsest level


@dataclass(frozen=True)
class Picture:
    """A frame from a source.

    Attributes:
        image: RGB, (H, W, 3) uint8, or BGRA, (H, W, 4) uint8, until it is fitted.
        pts: its time in ns, strictly increasing within a run; the capture time of a live source.
        captured: CLOCK_MONOTONIC ns at which it was there, for measuring latency.
    """

    image: np.ndarray
    pts: int
    captured: int


@dataclass(frozen=True)
class Result:
    """A stylised picture and the frame it was made from, at the same size.

    Attributes:
        image: RGB, (height, width, 3) uint8.
        source: the frame, as the engine saw it.
        sequence: counts the results of a run from 1.
        skipped: the similarity gate repeated the picture before.
        process_ms: time in the engine.
        arrived: CLOCK_MONOTONIC ns at which the daemon had it.
    """

    image: np.ndarray
    source: Picture
    sequence: int
    skipped: bool
    process_ms: float
    arrived: int


def model_size(width: int, height: int, area: int = DEFAULT_AREA) -> tuple[int, int]:
    """The model's (width, height) for a source: its shape, about `area` pixels, whole cells of the model."""
    scale = math.sqrt(area / (width * height))
    low, high = 64, 1024
    sides = (round(side * scale / GRAIN) * GRAIN for side in (width, height))
    fitted_width, fitted_height = (min(max(side, low), high) for side in sides)
    return fitted_width, fitted_height


def cover(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """`image` scaled to fill width × height, what stands over cut off evenly. No copy if it fits already."""
    import cv2

    have_height, have_width = image.shape[:2]
    if (have_width, have_height) == (width, height):
        return image
    scale = max(width / have_width, height / have_height)
    part_width = min(have_width, max(1, round(width / scale)))
    part_height = min(have_height, max(1, round(height / scale)))
    left, top = (have_width - part_width) // 2, (have_height - part_height) // 2
    part = image[top : top + part_height, left : left + part_width]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(part, (width, height), interpolation=how)


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """`picture` as RGB at width × height. The same one if it is so already."""
    import cv2

    image = cover(picture.image, width, height)
    if image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    return picture if image is picture.image else dataclasses.replace(picture, image=image)
