"""How far a remembered picture still holds: where the surface is the same, and how much it was stretched."""

from __future__ import annotations

import cv2
import numpy as np

from driftcam.engines.kernels import njit
from driftcam.engines.motion.camera import FASTMATH

_F32 = np.float32
# Mean difference of a small window, in grey levels beyond what a shift by `_SLIP` pixels explains, that is still the
# same surface, and that is another.
_SAME, _OTHER, _SLIP = 5.0, 16.0, 0.25
_WINDOW, _EDGE = (5, 5), np.ones((3, 3), np.uint8)
_NEIGHBOURS = np.ones((3, 3), np.uint8)
# Smooths the flow before its strain is taken, in pixels: what is finer is the flow's own error.
_STRAIN_SIGMA = 2.2


class Trust:
    """Compares small pictures of one size, in buffers that it keeps.

    Args:
        height, width: of the small pictures.

    Attributes:
        surface: (h, w) float32, 1 where the photograph shows the same surface as before, 0 where another.
        strain: (h, w) float32, by how much of its length the flow stretches or shears the surroundings in this frame.
    """

    def __init__(self, height: int, width: int) -> None:
        shape = height, width
        self.surface, self.strain = np.empty((2, *shape), np.float32)
        self._grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        self._where = np.empty((*shape, 2), np.float32)
        self._seen = np.empty((*shape, 3), np.uint8)
        self._slope = np.empty(shape, np.uint8)
        self._difference, self._raw = np.empty((2, *shape), np.float32)
        self._smooth = np.empty((*shape, 2), np.float32)

    def __call__(self, previous: np.ndarray, current: np.ndarray, grey: np.ndarray, backward: np.ndarray) -> None:
        """Set `surface` and `strain`.

        Args:
            previous, current: (h, w, 3) u8 photographs; `grey` (h, w) the current one.
            backward: (h, w, 2) float32 flow current → previous.
        """
        np.add(self._grid, backward, out=self._where)
        cv2.remap(  # type: ignore[call-overload]  # whose stubs want a second map
            previous, self._where, None, cv2.INTER_LINEAR, dst=self._seen, borderMode=cv2.BORDER_REPLICATE
        )
        cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, _NEIGHBOURS, dst=self._slope)
        _differ(self._seen, current, self._slope, self._raw)
        cv2.blur(self._raw, _WINDOW, dst=self._difference)
        _same_surface(self._difference, self._where, self._raw)
        cv2.erode(self._raw, _EDGE, dst=self._difference, borderType=cv2.BORDER_REPLICATE)
        cv2.blur(self._difference, _WINDOW, dst=self.surface)
        cv2.GaussianBlur(backward, (0, 0), _STRAIN_SIGMA, dst=self._smooth)
        _strain(self._smooth, self.strain)


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _differ(seen: np.ndarray, current: np.ndarray, slope: np.ndarray, out: np.ndarray) -> None:
    """Largest difference of the channels beyond what a small slip of the flow explains."""
    slip = _F32(_SLIP)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            most = np.int32(0)
            for c in range(3):
                most = max(most, abs(np.int32(seen[y, x, c]) - np.int32(current[y, x, c])))
            out[y, x] = max(_F32(0), _F32(most) - slip * _F32(slope[y, x]))


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _same_surface(difference: np.ndarray, where: np.ndarray, out: np.ndarray) -> None:
    """1 for the same surface to 0 for another; what comes in from outside is another."""
    height, width = out.shape
    slope, one = _F32(1 / (_OTHER - _SAME)), _F32(1)
    for y in range(height):
        for x in range(width):
            u, v = where[y, x, 0], where[y, x, 1]
            inside = one <= u and u <= _F32(width - 2) and one <= v and v <= _F32(height - 2)
            trust = one - (difference[y, x] - _F32(_SAME)) * slope
            out[y, x] = min(max(trust, _F32(0)), one) if inside else _F32(0)


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _strain(flow: np.ndarray, out: np.ndarray) -> None:
    """Frobenius norm of the flow's strain tensor; a rotation strains nothing."""
    height, width = out.shape
    half = _F32(0.5)
    for y in range(height):
        above, below = flow[max(y - 1, 0)], flow[min(y + 1, height - 1)]
        for x in range(width):
            left, right = flow[y, max(x - 1, 0)], flow[y, min(x + 1, width - 1)]
            xx, yy = half * (right[0] - left[0]), half * (below[x, 1] - above[x, 1])
            xy = half * half * (right[1] - left[1] + below[x, 0] - above[x, 0])
            out[y, x] = np.sqrt(xx * xx + yy * yy + _F32(2) * xy * xy)
