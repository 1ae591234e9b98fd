"""A finer backward flow than noise needs, for what carries whole pictures along.

Noise is read in cells of eight pixels; a stroke that is moved a pixel wrong on every frame is torn. The flow is one and
a half times as fine as `MotionStage`'s, smooth in flat surfaces (variational refinement), and not gated: small things
and slow ones, which have no room for noise of their own, take their strokes along.
"""

from __future__ import annotations

import cv2
import numpy as np

from driftcam.engines.image.luma import working_size

_LONGER_SIDE = 192
# A little coarser than OpenCV's preset: three quarters of its time, and strokes change as little.
_STRIDE, _DESCENTS, _REFINEMENTS = 5, 8, 1


class FineFlow:
    """Compares each picture of one stream with the one before; call from one thread.

    Args:
        height, width: of the pictures.

    Attributes:
        size: (h, w) of the small pictures that are compared.
        previous, current: (h, w, 3) u8, the small pictures; the previous one moved along with the jump.
        grey: (h, w) u8, the current one.
    """

    def __init__(self, height: int, width: int) -> None:
        self._full = height, width
        self.size = working_size(height, width, _LONGER_SIDE)
        self.previous, self.current = np.zeros((2, *self.size, 3), np.uint8)
        self.grey, self._last_grey = np.zeros((2, *self.size), np.uint8)
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setFinestScale(1)
        self._dis.setPatchStride(_STRIDE)
        self._dis.setGradientDescentIterations(_DESCENTS)
        self._dis.setVariationalRefinementIterations(_REFINEMENTS)
        self.reset()

    def reset(self) -> None:
        """Compare the next picture with none before."""
        self._flow = np.zeros((*self.size, 2), np.float32)
        self._begun = False

    def advance(self, picture: np.ndarray, jump: tuple[int, int]) -> np.ndarray | None:
        """Where each pixel of this picture was in the last one.

        Args:
            picture: (H, W, 3) u8.
            jump: (x, y) pixels by which the whole scene is known to have moved in it.

        Returns: (h, w, 2) float32 in pixels of the small pictures and without the jump; the next call overwrites it.
            None without a picture before.
        """
        self.previous, self.current = self.current, self.previous
        self.grey, self._last_grey = self._last_grey, self.grey
        _shrink(picture, self.current)
        cv2.cvtColor(self.current, cv2.COLOR_RGB2GRAY, dst=self.grey)
        if not self._begun:
            self._begun = True
            return None
        if jump != (0, 0):
            self._move(jump)
        self._dis.calc(self.grey, self._last_grey, self._flow)
        return self._flow

    def _move(self, jump: tuple[int, int]) -> None:
        """Move the previous picture along, so that only what the jump does not explain is left to find."""
        x, y = np.array(jump) * self.size[::-1] / self._full[::-1]
        move = np.array([[1, 0, x], [0, 1, y]])
        self.previous[:] = cv2.warpAffine(self.previous, move, self.size[::-1], borderMode=cv2.BORDER_REPLICATE)
        cv2.cvtColor(self.previous, cv2.COLOR_RGB2GRAY, dst=self._last_grey)


def _shrink(picture: np.ndarray, out: np.ndarray) -> None:
    """To the size of `out`; halves while it can, since OpenCV averages whole squares many times as fast as others."""
    height, width = out.shape[:2]
    while min(picture.shape[0] / height, picture.shape[1] / width) >= 2 and not (
        picture.shape[0] % 2 or picture.shape[1] % 2
    ):
        picture = cv2.resize(picture, (picture.shape[1] // 2, picture.shape[0] // 2), interpolation=cv2.INTER_AREA)
    left = min(picture.shape[0] / height, picture.shape[1] / width)
    cv2.resize(picture, (width, height), dst=out, interpolation=cv2.INTER_LINEAR if left < 2 else cv2.INTER_AREA)
