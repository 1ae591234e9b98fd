"""The small grey picture of a frame, on which everything that moves is measured."""

from __future__ import annotations

import cv2
import numpy as np

from driftcam.engines.kernels import njit

_F32, _U32 = np.float32, np.uint32
# The weights of red, green and blue in 32768ths (ITU-R BT.601), as OpenCV rounds them.
_RED, _GREEN, _BLUE, _HALF, _BITS = (_U32(v) for v in (9798, 19235, 3735, 16384, 15))


def working_size(height: int, width: int, longer_side: int = 128) -> tuple[int, int]:
    """(height, width) of the picture the flow is estimated on: at most `longer_side`, at least 32 on either axis."""
    scale = min(1.0, longer_side / max(height, width))
    return max(32, round(height * scale)), max(32, round(width * scale))


class WorkingLuma:
    """Makes the small grey picture of a frame in buffers that it keeps."""

    def __init__(self) -> None:
        self._small = np.empty((0, 0, 3), np.uint8)
        self._sums = np.empty(0, np.uint16)

    def convert(self, frame: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Shrink an (H, W, 3) RGB or (H, W) grey uint8 frame to `out` (h, w) uint8."""
        height, width = out.shape
        if frame.ndim == 2:
            return cv2.resize(frame, (width, height), dst=out, interpolation=cv2.INTER_AREA)
        ratio = frame.shape[0] // height
        whole = frame.shape[:2] == (ratio * height, ratio * width)
        if whole and 3 <= ratio <= 256 and frame.flags.c_contiguous:
            if self._sums.size != 3 * frame.shape[1]:
                self._sums = np.empty(3 * frame.shape[1], np.uint16)
            _shrink(frame, ratio, self._sums, out)
            return out
        if self._small.shape[:2] != out.shape:
            self._small = np.empty((height, width, 3), np.uint8)
        # The other order is twice as fast, and rounds so that pans of large things tear a little more.
        cv2.resize(frame, (width, height), dst=self._small, interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(self._small, cv2.COLOR_RGB2GRAY, dst=out)


@njit(nogil=True)
def _add_rows(rows: np.ndarray, first: int, count: int, sums: np.ndarray) -> None:
    a, b = rows[first], rows[first + 1]
    for i in range(sums.size):
        sums[i] = np.uint16(a[i]) + np.uint16(b[i])
    for k in range(2, count):
        row = rows[first + k]
        for i in range(sums.size):
            sums[i] = np.uint16(sums[i] + np.uint16(row[i]))


@njit(nogil=True)
def _shrink(frame: np.ndarray, ratio: int, sums: np.ndarray, out: np.ndarray) -> None:
    """What OpenCV gives for squares of `ratio` × `ratio` pixels, three to six times as fast from 3 × 3 on."""
    rows, share, three = frame.reshape(frame.shape[0], -1), _F32(1.0 / (ratio * ratio)), _U32(3)
    for y in range(out.shape[0]):
        _add_rows(rows, y * ratio, ratio, sums)
        at = _U32(0)
        for x in range(out.shape[1]):
            red = green = blue = _U32(0)
            for _ in range(ratio):
                red += _U32(sums[at])
                green += _U32(sums[at + _U32(1)])
                blue += _U32(sums[at + _U32(2)])
                at += three
            grey = _HALF
            grey += _RED * _U32(np.rint(_F32(red) * share))
            grey += _GREEN * _U32(np.rint(_F32(green) * share))
            grey += _BLUE * _U32(np.rint(_F32(blue) * share))
            out[y, x] = grey >> _BITS
