"""The texture of a stream, carried from picture to picture."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from driftcam.engines.kernels import njit
from driftcam.engines.memory.blend import EnergyBlend
from driftcam.engines.memory.trust import Trust
from driftcam.engines.motion.camera import FASTMATH
from driftcam.engines.motion.fine import FineFlow

_F32 = np.float32
# Share of fresh texture in every picture with all of the memory: with half of it, accidents of single paintings, say a
# spot on a cheek, stay for seconds.
_LEAST_FRESH = 0.1
# A texture that is stretched by a share s on every frame is renewed at √s, so that it is kept for about 2/s frames,
# until it has become unlike itself. Without it strokes are drawn out to threads where the flow shears.
_RENEWED_BY_STRAIN = _F32(1)
_IN_FLIGHT = 8  # frames of a stream batch
_STILL_PIXELS = 1 / 64


class Followed(NamedTuple):
    """How the last picture came to this one; arrays (h, w) of `FineFlow.size`, float32.

    Attributes:
        flow: (h, w, 2) backward flow in pixels of the picture.
        texture, tone: how much of the remembered texture and tone is to be kept, 0 to 1.
        dulled: share of white noise's energy that moving the remembered picture takes.
        surface: 1 where both photographs show the same surface, 0 where another one.
    """

    flow: np.ndarray
    texture: np.ndarray
    tone: np.ndarray
    dulled: np.ndarray
    surface: np.ndarray


class TextureMemory:
    """Blends each painting of one stream into what is remembered of those before (`EnergyBlend`).

    Of each frame first `follow` the photograph, in order, then `blend` its painting, in the same order; up to
    `_IN_FLIGHT` frames may lie between the two.

    Args:
        height, width: of the pictures, multiples of `blend.BLOCK`.

    Attributes:
        size: (height, width).
    """

    def __init__(self, height: int, width: int) -> None:
        self.size = height, width
        self._flow = FineFlow(height, width)
        small = self._flow.size
        self._trust = Trust(*small)
        self._blend = EnergyBlend(height, width)
        self._ring = deque(_followed(*small) for _ in range(_IN_FLIGHT + 1))
        self._picture, self._warped = np.empty((2, height, width, 3), np.float32)
        self._out = np.empty((height, width, 3), np.uint8)
        self._grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        self._where = np.empty((height, width, 2), np.float32)
        self._moved: Followed | None = None

    def reset(self) -> None:
        """The next frame that is followed is remembered as it is painted."""
        self._flow.reset()

    def follow(
        self, photo: np.ndarray, jump: tuple[int, int], share: float, least_fresh: float = 0.0
    ) -> Followed | None:
        """Find what has become of the last frame in this one; None where there is none.

        Args:
            photo: (H, W, 3) u8.
            jump: (x, y) pixels by which the whole scene is known to have moved.
            share: of the memory, above 0 to 1.
            least_fresh: least share of fresh texture and tone.
        """
        flow = self._flow.advance(photo, jump)
        if flow is None:
            return None
        self._trust(self._flow.previous, self._flow.current, self._flow.grey, flow)
        self._ring.rotate(1)
        kept = self._ring[0]
        _in_pixels(flow, *self.size, *jump, kept.flow)
        fresh = 1 - (1 - _LEAST_FRESH) * share
        fresh_tone = fresh * fresh * (1 + fresh) / 2  # nothing strains a tone, and none of it grows
        fresh, fresh_tone = max(fresh, least_fresh), max(fresh_tone, least_fresh)
        _keep(self._trust.surface, self._trust.strain, fresh, fresh_tone, kept.texture, kept.tone)
        _dull(kept.flow, kept.dulled)
        np.copyto(kept.surface, self._trust.surface)
        return kept

    def blend(self, painting: np.ndarray, followed: Followed | None) -> np.ndarray:
        """The painting (H, W, 3) u8 of a frame, blended; the next call overwrites it."""
        if followed is None:
            np.copyto(self._picture, painting)
            np.copyto(self._out, painting)
            return self._out
        if self._moved is not followed:
            self.move(followed)
        self._moved = None
        self._blend(self._picture, painting, followed.texture, followed.tone, followed.dulled, self._out)
        return self._out

    def move(self, followed: Followed) -> None:
        """Move the remembered picture along, which `blend` does otherwise: once all frames before have been blended."""
        self._moved = followed
        if np.abs(followed.flow).max() < _STILL_PIXELS:
            return
        cv2.resize(followed.flow, self.size[::-1], dst=self._where, interpolation=cv2.INTER_LINEAR)
        cv2.add(self._where, self._grid, dst=self._where)
        cv2.remap(  # type: ignore[call-overload]  # whose stubs want a second map
            self._picture, self._where, None, cv2.INTER_LINEAR, dst=self._warped, borderMode=cv2.BORDER_REPLICATE
        )
        self._picture, self._warped = self._warped, self._picture


def _followed(height: int, width: int) -> Followed:
    flow = np.empty((height, width, 2), np.float32)
    return Followed(flow, *np.empty((4, height, width), np.float32))


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _in_pixels(small: np.ndarray, height: int, width: int, right: int, down: int, out: np.ndarray) -> None:
    """A backward flow in pixels of a small picture to one of a (height, width), the jump included."""
    across, along = _F32(width / small.shape[1]), _F32(height / small.shape[0])
    for y in range(small.shape[0]):
        for x in range(small.shape[1]):
            out[y, x, 0], out[y, x, 1] = small[y, x, 0] * across - _F32(right), small[y, x, 1] * along - _F32(down)


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _keep(
    surface: np.ndarray, strain: np.ndarray, fresh: float, fresh_tone: float, texture: np.ndarray, tone: np.ndarray
) -> None:
    """How much of texture and tone to keep where the surface is the same one."""
    one, least, kept_tone = _F32(1), _F32(fresh), _F32(1 - fresh_tone)
    for y in range(surface.shape[0]):
        for x in range(surface.shape[1]):
            renewed = max(least, min(_RENEWED_BY_STRAIN * np.sqrt(strain[y, x]), one))
            texture[y, x] = surface[y, x] * (one - renewed)
            tone[y, x] = surface[y, x] * kept_tone


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _dull(flow: np.ndarray, dulled: np.ndarray) -> None:
    """Share of white noise's energy that linear interpolation takes."""
    one, two = _F32(1), _F32(2)
    for y in range(flow.shape[0]):
        for x in range(flow.shape[1]):
            right, down = flow[y, x, 0] - np.floor(flow[y, x, 0]), flow[y, x, 1] - np.floor(flow[y, x, 1])
            dulled[y, x] = one - (one - two * right * (one - right)) * (one - two * down * (one - down))
