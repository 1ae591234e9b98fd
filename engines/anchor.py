"""Keeps the latent grid on the scene while the camera moves.

A network with a stride is equivariant to shifts by whole cells, not by parts of one: however truly the noise is
carried, a pan by a third of a cell makes it paint other strokes. So the picture is given to the networks a few pixels
aside, such that the scene lies on the cells as it did before; it then moves by whole cells or not at all. The result
is moved back by as much. The strip of a few pixels that falls off one side is the reflection of its neighbourhood.
"""

from __future__ import annotations

import cv2
import numpy as np

from engines.camera import refine

# Beyond half a cell, so that a camera that hovers around the middle does not move the grid back and forth.
_SLACK = 1
# The scene's place is measured against a frame some time ago, so that the errors of single frames do not add up:
# until it has moved by this share of the picture, and for so many frames, since everything else in it changes too.
_KEPT_SHARE, _KEPT_FRAMES = 0.12, 30
# Peak of the phase correlation (1 for a pure shift, near 0 for unrelated pictures) below which no motion is believed.
_LEAST_RESPONSE = 0.1


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
        self.offset = self.jump = (0, 0)
        # Where the scene lies on the screen, and lay in the kept frame, in pixels of the small picture.
        self._scene, self._kept_scene = np.zeros((2, 2))
        self._previous: np.ndarray | None = None
        self._age = 0

    def follow(self, luma: np.ndarray, scale: float) -> None:
        """Set `offset` and `jump` for the next frame.

        Args:
            luma: (h, w) uint8 grey picture of the frame as it came; copied.
            scale: pixels of the frame for each pixel of `luma`.
        """
        if self._previous is None or self._previous.shape != luma.shape:
            self.reset()
            self._previous, self._kept = luma.copy(), luma.copy()
            self._window = cv2.createHanningWindow(luma.shape[::-1], cv2.CV_32F)
            return
        before = scale * self._scene + self.offset
        self._locate(luma)
        now = scale * self._scene
        self.offset = tuple(self._offset(s, o) for s, o in zip(now, self.offset, strict=True))  # type: ignore[assignment]
        self.jump = tuple(int(v) for v in np.rint((now + self.offset - before) / self._cell))  # type: ignore[assignment]

    def _locate(self, luma: np.ndarray) -> None:
        """Where most of the picture has gone: phase correlation with the last frame, refined on the kept one."""
        assert self._previous is not None
        pair = self._previous.astype(np.float32), luma.astype(np.float32)
        shift, response = cv2.phaseCorrelate(*pair, self._window)
        guess = self._scene + (shift if response >= _LEAST_RESPONSE else (0.0, 0.0))
        motion = np.zeros(6)
        motion[[0, 3]] = guess - self._kept_scene
        refine(self._kept, luma, 0.0, motion)
        found = self._kept_scene + motion[[0, 3]]
        trusted = np.abs(found - guess).max() < 1
        self._scene = found if trusted else guess
        self._age += 1
        moved = np.abs(self._scene - self._kept_scene).max() / max(luma.shape)
        if not trusted or moved > _KEPT_SHARE or self._age >= _KEPT_FRAMES:
            np.copyto(self._kept, luma)
            self._kept_scene, self._age = self._scene, 0
        np.copyto(self._previous, luma)

    def _offset(self, scene: float, current: int) -> int:
        """The nearest offset to the current one that puts the scene onto the cells within the reach."""
        reach = self._cell // 2 + _SLACK
        wanted = round(-scene)
        near = current + (wanted - current + self._cell // 2) % self._cell - self._cell // 2
        if near > reach:
            return near - self._cell
        return near + self._cell if near < -reach else near


def shifted(image: np.ndarray, x: int, y: int, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    """`image` moved right by x and down by y on a canvas (height, width, 3), its borders reflected."""
    top, left = max(y, 0), max(x, 0)
    part = image[max(-y, 0) : max(-y, 0) + height - top, max(-x, 0) : max(-x, 0) + width - left]
    bottom, right = height - top - part.shape[0], width - left - part.shape[1]
    return cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_REFLECT_101, dst=out)
