"""A picture between two others, along what moved between them.

Each pixel between is looked up in both pictures along one flow (Super SloMo, arXiv 1712.00080) and mixed by the time to
either and by where it can be seen. Its flow is the one that leads to it, found from the later picture's by fixed-point
iteration. Where surfaces differ it is taken from around, for there it is wrong and would tear edges; where it draws
together or apart, too, one of the pictures shows what the other hides. All but the look-up is done at the flow's own
small size.
"""

from __future__ import annotations

import cv2
import numpy as np

_ITERATIONS = 2
# How much a hidden pixel counts at least: where the flow is wrong, a soft edge shows less than a torn one.
_GAIN, _LEAST = np.float32(2), np.float32(0.3)
# Where a flow that is wrong is taken from, in its pixels, and how much what is wrong itself counts there.
_AROUND, _WRONG = (15, 15), np.float32(0.02)


class Between:
    """Call from one thread at a time."""

    def __init__(self) -> None:
        self._sizes: tuple[int, ...] = ()

    def use(self, before: np.ndarray, after: np.ndarray, motion: np.ndarray) -> None:
        """The two pictures, and what `at` knows of them. Nothing given is kept or changed.

        Args:
            before, after: (H, W, 3) u8, or (H, W, 4) with alpha.
            motion: (h, w, 3) float32 of any size, see `engines.api.planes.MOTION`.
        """
        sizes = *after.shape, *motion.shape[:2]
        if sizes != self._sizes:
            self._sizes = sizes
            self._resize(*sizes)
        if after.shape[2] == 4:
            np.copyto(self._before, before)
            np.copyto(self._after, after)
        else:  # four channels are looked up in less than half the time
            cv2.cvtColor(before, cv2.COLOR_RGB2RGBA, dst=self._before)
            cv2.cvtColor(after, cv2.COLOR_RGB2RGBA, dst=self._after)
        across, down, surface = cv2.split(motion)
        across *= 1 / self._scale[0]
        down *= 1 / self._scale[1]
        _mend(across, down, surface)
        cv2.merge((across, down), dst=self._flow)
        cv2.merge(_seen(across, down, surface), dst=self._seen)

    def at(self, share: float) -> np.ndarray:
        """The picture `share` of the way from the first (0) to the second (1), of their shape; the caller's own."""
        flow = self._flow
        for _ in range(_ITERATIONS):
            cv2.scaleAdd(flow, share - 1, self._small_grid, dst=self._places)
            flow = _look_up(self._flow, self._places, self._small)
        _look_up(self._seen, self._places, self._seen_here)
        height, width = self._before.shape[:2]
        cv2.multiply(flow, (*self._scale, 0.0, 0.0), dst=flow)  # type: ignore[call-overload]
        cv2.resize(flow, (width, height), dst=self._large, interpolation=cv2.INTER_LINEAR)
        for number, (picture, way) in enumerate(((self._before, share), (self._after, share - 1))):
            cv2.scaleAdd(self._large, way, self._grid, dst=self._where)
            _look_up(picture, self._where, self._looked_up[number])
            np.multiply(self._seen_here[..., number], 1 - abs(way), out=self._weight)
            cv2.resize(self._weight, (width, height), dst=self._weights[number], interpolation=cv2.INTER_LINEAR)
        (first, last), (weight, other) = self._looked_up, self._weights
        cv2.blendLinear(first, last, weight, other, dst=self._mixed)
        return self._mixed.copy() if self._sizes[2] == 4 else cv2.cvtColor(self._mixed, cv2.COLOR_RGBA2RGB)

    def _resize(self, height: int, width: int, channels: int, rows: int, columns: int) -> None:
        self._before, self._after, self._mixed, *self._looked_up = np.empty((5, height, width, 4), np.uint8)
        self._grid, self._small_grid = _grid(height, width), _grid(rows, columns)
        self._large, self._where = np.empty((2, height, width, 2), np.float32)
        self._flow, self._places, self._small = np.empty((3, rows, columns, 2), np.float32)
        self._seen, self._seen_here = np.empty((2, rows, columns, 2), np.float32)
        self._weight, self._weights = np.empty((rows, columns), np.float32), np.empty((2, height, width), np.float32)
        self._scale = width / columns, height / rows


def _mend(across: np.ndarray, down: np.ndarray, surface: np.ndarray) -> None:
    """Normalised convolution (Knutsson and Westin 1993) over the surfaces that are the same; in place."""
    sure = surface + _WRONG
    total = cv2.blur(sure, _AROUND)
    for flow in (across, down):
        around = cv2.blur(flow * sure, _AROUND) / total
        flow += (1 - surface) * (around - flow)


def _seen(across: np.ndarray, down: np.ndarray, surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well the places of the later picture are seen in the earlier one and in itself."""
    apart = cv2.Sobel(across, cv2.CV_32F, 1, 0, scale=1 / 8) + cv2.Sobel(down, cv2.CV_32F, 0, 1, scale=1 / 8)
    hidden = (1 - surface) * _GAIN * cv2.blur(apart, (5, 5))  # below 0: the later picture shows more
    return np.clip(1 + hidden, _LEAST, 1), np.clip(1 - hidden, _LEAST, 1)


def _look_up(picture: np.ndarray, places: np.ndarray, out: np.ndarray) -> np.ndarray:
    """`out`, which is `picture` at `places` (h, w, 2), x first."""
    border = cv2.BORDER_REPLICATE
    return cv2.remap(picture, places, None, cv2.INTER_LINEAR, dst=out, borderMode=border)  # type: ignore[call-overload]


def _grid(height: int, width: int) -> np.ndarray:
    return np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
