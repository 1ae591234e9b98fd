"""Moves pictures by parts of a pixel."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from driftcam.engines.kernels import njit

_F32 = np.float32
_TAPS, _BEFORE = 6, 3  # of `_shift_kernel`, and how many of them lie before the pixel itself
_RING = 8  # filtered rows that are kept: more than the taps, a power of two


class Shift:
    """Moves pictures (H, W, 3) u8 in buffers that it keeps."""

    def __init__(self) -> None:
        self._between = np.empty((0, 0, 3), np.uint8)

    def __call__(self, image: np.ndarray, x: float, y: float, out: np.ndarray) -> None:
        """`image` moved right by x and down by y on `out`, of any size, its borders reflected."""
        right, down = math.floor(x), math.floor(y)
        if x != right or y != down:
            if self._between.shape != image.shape:
                height, width = image.shape[:2]
                self._between = np.empty((height, width, 3), np.uint8)
                self._line = np.empty(3 * (width + _TAPS - 1), np.float32)
                self._rows = np.empty((_RING, 3 * width), np.float32)
            across, along = _shift_kernel(x - right), _shift_kernel(y - down)
            _filter(image, across, along, self._line, self._rows, self._between)
            image = self._between
        shift_by_pixels(image, right, down, out)


@functools.lru_cache(maxsize=64)
def _shift_kernel(f: float) -> np.ndarray:
    """Six taps that move a signal on by f, 0 ≤ f < 1: the sinc in the window of a wider one (Lanczos, Duchon 1979)."""
    distance = np.arange(-_BEFORE, _TAPS - _BEFORE) + f
    taps = np.sinc(distance) * np.sinc(distance / 3)
    return (taps / taps.sum()).astype(np.float32)


def shift_by_pixels(image: np.ndarray, x: int, y: int, out: np.ndarray) -> None:
    """`Shift` by whole pixels, of any array of pixels."""
    (height, width), top, left = out.shape[:2], max(y, 0), max(x, 0)
    part = image[max(-y, 0) : max(-y, 0) + height - top, max(-x, 0) : max(-x, 0) + width - left]
    bottom, right = height - top - part.shape[0], width - left - part.shape[1]
    cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_REFLECT_101, dst=out)


@njit(nogil=True, inline="always")
def _reflected(i: int, size: int) -> int:
    """Where place i lies in `size` values that are reflected about the first and the last, again and again."""
    i %= 2 * size - 2
    return i if i < size else 2 * size - 2 - i


@njit(nogil=True)
def _reflected_line(row: np.ndarray, start: int, line: np.ndarray) -> None:
    """Pixels `start`, `start` + 1 … of a row (W, 3), which is reflected at its ends, as (3·n,) float32."""
    width, pixels = row.shape[0], line.size // 3
    first, last = min(max(-start, 0), pixels), min(max(width - start, 0), pixels)
    for i in range(first):
        source = _reflected(start + i, width)
        line[3 * i], line[3 * i + 1], line[3 * i + 2] = row[source, 0], row[source, 1], row[source, 2]
    inside, target = row[start + first : start + last].reshape(-1), line[3 * first : 3 * last]
    for i in range(target.size):
        target[i] = inside[i]
    for i in range(last, pixels):
        source = _reflected(start + i, width)
        line[3 * i], line[3 * i + 1], line[3 * i + 2] = row[source, 0], row[source, 1], row[source, 2]


@njit(nogil=True, fastmath=True)
def _across(line: np.ndarray, taps: np.ndarray, out: np.ndarray) -> None:
    """out = Σ_k taps[k]·line, k pixels on."""
    ka, kb, kc, kd, ke, kf = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]
    n = out.size
    a, b, c, d, e, f = line[:n], line[3 : n + 3], line[6 : n + 6], line[9 : n + 9], line[12 : n + 12], line[15 : n + 15]
    for i in range(n):
        out[i] = ka * a[i] + kb * b[i] + kc * c[i] + kd * d[i] + ke * e[i] + kf * f[i]


@njit(nogil=True, fastmath=True)
def _along(rows: np.ndarray, which: np.ndarray, taps: np.ndarray, out: np.ndarray) -> None:
    """out = Σ_k taps[k]·rows[which[k]], rounded to u8."""
    ka, kb, kc, kd, ke, kf = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]
    a, b, c = rows[which[0]], rows[which[1]], rows[which[2]]
    d, e, f = rows[which[3]], rows[which[4]], rows[which[5]]
    for i in range(out.size):
        value = ka * a[i] + kb * b[i] + kc * c[i] + kd * d[i] + ke * e[i] + kf * f[i]
        out[i] = np.uint8(min(max(value + _F32(0.5), _F32(0)), _F32(255)))


@njit(nogil=True)
def _filter(
    image: np.ndarray,
    across: np.ndarray,
    along: np.ndarray,
    line: np.ndarray,
    rows: np.ndarray,
    out: np.ndarray,
) -> None:
    """`Shift` by parts of a pixel: each row is filtered once, into a ring of the last few, and those are summed up."""
    height, flat = image.shape[0], out.reshape(out.shape[0], -1)
    held, which = np.full(_RING, -1), np.empty(_TAPS, np.int64)
    for y in range(out.shape[0]):
        for k in range(_TAPS):
            source = _reflected(y - _BEFORE + k, height)
            place = which[k] = source % _RING
            if held[place] != source:
                held[place] = source
                _reflected_line(image[source], -_BEFORE, line)
                _across(line, across, rows[place])
        _along(rows, which, along, flat[y])
