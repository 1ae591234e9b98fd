"""Reads pictures at places between the pixels."""

from __future__ import annotations

import cv2
import numpy as np

_NO_SECOND_MAP = np.empty(0, np.float32)


class Remap:
    """Reads pictures at (H, W, 2) places, in buffers that it keeps.

    To 1/32 of a pixel: OpenCV takes fixed-point places five times as fast as floating-point ones.
    """

    def __init__(self, height: int, width: int) -> None:
        self._whole = np.empty((height, width, 2), np.int16)
        self._fraction = np.empty((height, width), np.uint16)

    def __call__(self, picture: np.ndarray, where: np.ndarray, out: np.ndarray) -> None:
        """`picture` (h, w, c) at `where` (H, W, 2) float32, x first, in pixels; linear, outside it its reflection."""
        cv2.convertMaps(where, _NO_SECOND_MAP, cv2.CV_16SC2, self._whole, self._fraction)
        border = cv2.BORDER_REFLECT_101
        cv2.remap(picture, self._whole, self._fraction, cv2.INTER_LINEAR, dst=out, borderMode=border)
