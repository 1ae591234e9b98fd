"""The noise of a stream: one field for each denoising step, drifting with the picture."""

from __future__ import annotations

from time import perf_counter

import cv2
import numpy as np

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.parameters import TABLE
from driftcam.engines.motion.flow import scale_flow
from driftcam.engines.motion.stage import FIRST, FrameMotion
from driftcam.engines.noise import Readout, WarpedField
from driftcam.engines.noise.normals import fill_normals


class TemporalNoise:
    """White Gaussian noise (steps, C, h, w) for each frame of one stream; call from one thread.

    The fields of all steps and channels share one warped grid of `points` × `points` pixels a cell: their noise is
    independent, their motion the same.

    Attributes:
        timings: milliseconds of the last frame by part: `warp` and `readout`.
    """

    def __init__(
        self,
        cells_height: int,
        cells_width: int,
        channels: int,
        steps: int,
        seed: int,
        *,
        points: int = 4,
        readout: str = "band_limited",
    ) -> None:
        self._seed, self._points, self._kernel = seed, points, readout
        self.timings = dict.fromkeys(("warp", "readout"), 0.0)
        self.resize(cells_height, cells_width, channels, steps)

    def resize(self, cells_height: int, cells_width: int, channels: int, steps: int) -> None:
        """Start anew with another number of cells, channels or steps."""
        sizes = {"cells_height": cells_height, "cells_width": cells_width, "channels": channels, "steps": steps}
        for name, value in {**sizes, "points": self._points}.items():
            if value < 1:
                raise ParameterError(name, value, "give a whole number above 0")
        height, width, planes = cells_height * self._points, cells_width * self._points, steps * channels
        self._field = WarpedField(height, width, planes, self._seed)
        self._readout = Readout(self._kernel, self._points, cells_height, cells_width, planes)
        self._clean, self._out = np.empty((2, steps, channels, cells_height, cells_width), np.float32)
        self._forward, self._backward = np.empty((2, height, width, 2), np.float32)
        self._confidence = np.empty((height, width), np.float32)
        self._draws = np.zeros(1, np.uint64)
        self._fresh = np.empty(self._out.size, np.float32)
        self._read()

    def advance(
        self,
        motion: FrameMotion = FIRST,
        *,
        mode: str = "warped",
        refresh: float = 0.0,
        degradation: float = 0.0,
    ) -> np.ndarray:
        """The noise for the next frame.

        Args:
            motion: what moved since the last frame; without a frame before the noise stays.
            mode: `warped` along the motion, `fixed` as it was, `independent` of every other frame.
            refresh: least share α of fresh noise, 0 to 1; raised where the flow cannot be trusted, 1 on a cut.
            degradation: γ, 0 keeps the noise, 1 is independent noise.

        Returns: (steps, C, h, w) float32, standard normal; the next call overwrites it.
        """
        TABLE["noise"].check(mode)
        self.timings = dict.fromkeys(self.timings, 0.0)
        if mode == "independent":
            return self._independent()
        if mode == "warped" and not motion.first:
            self._follow(motion, refresh)
        return self._degraded(degradation)

    def _follow(self, motion: FrameMotion, refresh: float) -> None:
        if motion.cut:
            self._field.redraw()
            self._read()
        elif motion.flow is not None:
            self._carry(motion.flow.forward, motion.flow.backward, motion.flow.confidence, refresh)
        elif motion.jump != (0, 0) or refresh > 0:  # else the noise is what it was
            cells = self._out.shape[:1:-1]
            uniform = np.divide(motion.jump, cells, dtype=np.float32).reshape(1, 1, 2)
            self._carry(uniform, -uniform, None, refresh)

    def _carry(self, forward: np.ndarray, backward: np.ndarray, confidence: np.ndarray | None, refresh: float) -> None:
        started = perf_counter()
        height, width = self._field.height, self._field.width
        forward = scale_flow(forward, height, width, self._forward)
        backward = scale_flow(backward, height, width, self._backward)
        if confidence is not None:
            cv2.resize(confidence, (width, height), dst=self._confidence, interpolation=cv2.INTER_LINEAR)
            confidence = self._confidence
        self._field.step(forward, backward, confidence, refresh)
        self.timings["warp"] = 1e3 * (perf_counter() - started)
        self._read()

    def _read(self) -> None:
        started = perf_counter()
        planes = self._clean.reshape(-1, *self._clean.shape[2:])
        self._readout.read(self._field.values, self._field.phase, planes)
        self.timings["readout"] = 1e3 * (perf_counter() - started)

    def _independent(self) -> np.ndarray:
        # The complement of the seed: a stream of its own beside the field's.
        fill_normals(self._out.reshape(-1), ~self._seed, self._draws)
        return self._out

    def _degraded(self, gamma: float) -> np.ndarray:
        """((1−γ)Q + γζ)/√((1−γ)² + γ²) with fresh ζ."""
        if gamma <= 0:
            np.copyto(self._out, self._clean)
            return self._out
        norm = np.hypot(1 - gamma, gamma)
        fill_normals(self._fresh, ~self._seed, self._draws)
        np.multiply(self._clean, np.float32((1 - gamma) / norm), out=self._out)
        self._fresh *= np.float32(gamma / norm)
        self._out += self._fresh.reshape(self._out.shape)
        return self._out
