"""Keeps the latent grid on the scene while the camera moves.

A network with a stride is equivariant to shifts by whole cells, not by parts of one: however truly the noise is
carried, a pan by a third of a cell makes it paint other strokes. So the picture is given to the networks a few pixels
aside, such that the scene lies on the cells as it did before; it then moves by whole cells or not at all. The result
is moved back by as much. The strip of a few pixels that falls off one side is the reflection of its neighbourhood.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from driftcam.engines.kernels import njit
from driftcam.engines.motion.camera import refine

# Beyond half a cell, so that a camera that hovers around the middle does not move the grid back and forth.
_SLACK = 1
# Pixels of drift that are left alone, beyond the error of the measurement, and the parts of a pixel that offsets count.
_STILL, _PARTS = 0.12, 16
# The scene's place is measured against a frame some time ago, so that the errors of single frames do not add up:
# until it has moved by this share of the picture, and for so many frames, since everything else in it changes too.
_KEPT_SHARE, _KEPT_FRAMES = 0.12, 30
# Difference in grey levels from which it does not matter how different two places are.
_OTHER_SURFACE = 24


class Anchor:
    """Chooses where in its canvas each frame of one stream is put.

    Args:
        cell: side of a latent cell in pixels.

    Attributes:
        offset: (x, y) pixels by which the frame is moved right and down.
        jump: (x, y) whole cells by which the scene moved in the canvas since the last frame.
    """

    def __init__(self, cell: int) -> None:
        self._cell = cell
        self._window: np.ndarray = np.empty((0, 0), np.float32)
        self.reset()

    def reset(self) -> None:
        """Begin anew in the middle."""
        self.offset: tuple[float, float] = (0.0, 0.0)
        self.jump = (0, 0)
        # Where the scene lies on the screen, and lay in the kept frame, in pixels of the small picture.
        self._scene, self._kept_scene = np.zeros((2, 2))
        self._previous: np.ndarray | None = None
        self._age = 0
        self._motion = np.zeros(2)  # of the last frame

    def follow(self, luma: np.ndarray, scale: float) -> None:
        """Set `offset` and `jump` for the next frame.

        Args:
            luma: (h, w) uint8 grey picture of the frame as it came; copied.
            scale: pixels of the frame for each pixel of `luma`.
        """
        if self._previous is None or self._previous.shape != luma.shape:
            self.reset()
            self._previous, self._kept, self._half = luma.copy(), luma.copy(), _half(luma)
            self._window = cv2.createHanningWindow((luma.shape[1] // 2, luma.shape[0] // 2), cv2.CV_32F)
            return
        before = scale * self._scene + self.offset
        self._locate(luma)
        now = scale * self._scene
        self.offset = tuple(self._offset(s, o) for s, o in zip(now, self.offset, strict=True))  # type: ignore[assignment]
        self.jump = tuple(int(v) for v in np.rint((now + self.offset - before) / self._cell))  # type: ignore[assignment]

    def _locate(self, luma: np.ndarray) -> None:
        """Where most of the picture has gone: a first guess from the last frame, refined on the kept one."""
        previous = self._previous
        assert previous is not None
        half = _half(luma)
        # OpenCV puts the window onto the very pictures that it is given.
        correlated = 2 * np.array(cv2.phaseCorrelate(self._half, half.copy(), self._window)[0])
        self._half = half
        # A pattern that repeats or a thing that moves for itself may correlate best.
        candidates = (np.zeros(2), self._motion, correlated)
        guess = self._scene + min(candidates, key=lambda shift: _mismatch(previous, luma, shift))
        motion = np.zeros(6)
        motion[[0, 3]] = guess - self._kept_scene
        refine(self._kept, luma, 0.0, motion)
        found = self._kept_scene + motion[[0, 3]]
        trusted = np.abs(found - guess).max() < 1
        self._motion = (found if trusted else guess) - self._scene
        self._scene = self._scene + self._motion
        self._age += 1
        moved = np.abs(self._scene - self._kept_scene).max() / max(luma.shape)
        if not trusted or moved > _KEPT_SHARE or self._age >= _KEPT_FRAMES:
            np.copyto(self._kept, luma)
            self._kept_scene, self._age = self._scene, 0
        np.copyto(previous, luma)

    def _offset(self, scene: float, current: float) -> float:
        """The nearest offset to the current one that puts the scene onto the cells within the reach."""
        half = self._cell / 2
        change = (-scene - current + half) % self._cell - half
        if abs(change) < _STILL:
            return current
        offset = round((current + change) * _PARTS) / _PARTS
        if offset > half + _SLACK:
            return offset - self._cell
        return offset + self._cell if offset < -half - _SLACK else offset


def _half(luma: np.ndarray) -> np.ndarray:
    """At half the size, as float32: enough for a first guess."""
    height, width = luma.shape
    return cv2.resize(luma, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.float32)


def _mismatch(previous: np.ndarray, current: np.ndarray, shift: np.ndarray) -> float:
    """How badly the previous picture, moved by (x, y) rounded to pixels, explains the current one."""
    x, y = (int(v) for v in np.rint(shift))
    height, width = current.shape
    if abs(x) > width // 2 or abs(y) > height // 2:
        return math.inf
    now = current[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
    then = previous[max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)]
    return _limited_difference(now, then)


@njit(nogil=True)
def _limited_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference, where it does not matter by how much places differ beyond `_OTHER_SURFACE`."""
    total = 0
    for y in range(a.shape[0]):
        row, other = a[y], b[y]
        for x in range(row.size):
            difference = np.int32(row[x]) - np.int32(other[x])  # unsigned bytes would wrap
            total += min(abs(int(difference)), _OTHER_SURFACE)
    return total / a.size
