"""The state of a warped noise field and its step from one frame to the next."""

from __future__ import annotations

import numpy as np

from driftcam.engines.noise.normals import fill_normals
from driftcam.engines.noise.warp import carry, refresh, relax, route

PHASE_RANGE = 0.625
_POOL = 4096
_MEDIAN_SAMPLES = 24


class WarpedField:
    """C channels of white Gaussian noise on an H×W grid, carried along the flow; every array is allocated once.

    Attributes:
        values: (H·W, C) float32, channels last so that one pixel's channels move together.
        density: (H·W,) ω, share of the picture a pixel's noise has gathered.
        rest: (H, W, 2) Δ, x and y of where the noise truly is, from its pixel.
        phase: (2,) x and y of the dominant Δ, within ±PHASE_RANGE.
    """

    def __init__(self, height: int, width: int, channels: int, seed: int) -> None:
        pixels = height * width
        self.height, self.width, self.channels, self.seed = height, width, channels, seed
        self.values, self._values = np.empty((2, pixels, channels), np.float32)
        self.density, self._density = np.empty((2, pixels), np.float32)
        self.rest, self._rest = np.empty((2, height, width, 2), np.float32)
        self.phase = np.zeros(2, np.float32)
        self._norm = np.empty(pixels, np.float32)
        self._target, self._first_pull, self._next_pull, self._hits = np.empty((4, pixels), np.int32)
        self._backward = np.empty((height, width, 2), np.float32)
        self._certain = np.ones((height, width), np.float32)
        self._pool = np.empty(max(_POOL, 2 * channels), np.float32)
        self._counter = np.zeros(1, np.uint64)
        self.redraw()

    def redraw(self) -> None:
        """Start anew: independent noise, unit density, no residual. The stream of draws goes on."""
        fill_normals(self.values.reshape(-1), self.seed, self._counter)
        self.density.fill(1.0)
        self.rest.fill(0.0)
        self.phase.fill(0.0)

    def step(
        self,
        forward: np.ndarray,
        backward: np.ndarray | None = None,
        confidence: np.ndarray | None = None,
        alpha: float = 0.0,
    ) -> None:
        """Carry the noise one frame on.

        Args:
            forward, backward: (H, W, 2) float32 flow previous → current and current → previous, in grid pixels.
                Without `backward`, holes pull along −forward, as in the paper.
            confidence: (H, W) float32 trust in the flow at the current frame's pixels, 0 to 1; None for 1 everywhere.
            alpha: least share of fresh noise α, 0 to 1.
        """
        paired = backward is not None
        if backward is None:
            backward = np.negative(forward, out=self._backward)
        phase = dominant_phase(forward, self.rest)
        plan = self._target, self._first_pull, self._next_pull, self._hits
        density = self.density.reshape(self.height, self.width)
        still = route(forward, backward, paired, self.rest, density, self.phase, phase, *plan)
        if not still:
            old_rest, new_rest = self.rest.reshape(-1, 2), self._rest.reshape(-1, 2)
            new = self._values, self._density, new_rest, self._norm
            carry(self.values, self.density, old_rest, phase, *plan, *new, self._pool, self.seed, self._counter)
            self.values, self._values = self._values, self.values
            self.density, self._density = self._density, self.density
            self.rest, self._rest = self._rest, self.rest
        relax(self.rest, self._rest)
        self.rest, self._rest = self._rest, self.rest
        self.phase = phase
        certain = self._certain if confidence is None else confidence
        if alpha > 0.0 or confidence is not None:
            flat = certain.reshape(-1)
            refresh(self.values, self.density, flat, alpha, self._pool, self.seed, self._counter)


def dominant_phase(forward: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Residual (x, y) that the median pixel keeps after moving by whole pixels, within ±PHASE_RANGE.

    A displacement within ±PHASE_RANGE does not move at all: without this slack a pan that hovers around half a pixel
    would carry the whole field back and forth, losing a border column each time.
    """
    rows = slice(None, None, max(1, forward.shape[0] // _MEDIAN_SAMPLES))
    columns = slice(None, None, max(1, forward.shape[1] // _MEDIAN_SAMPLES))
    moved = (forward[rows, columns] + rest[rows, columns]).reshape(-1, 2)
    middle = np.partition(moved, len(moved) // 2, axis=0)[len(moved) // 2]
    return np.where(np.abs(middle) > PHASE_RANGE, middle - np.rint(middle), middle).astype(np.float32)
