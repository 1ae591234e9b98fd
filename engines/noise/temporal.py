"""The noise of a stream: one field for each denoising step, drifting with the picture."""

from __future__ import annotations

from time import perf_counter

import cv2
import numpy as np

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.parameters import NOISE_MODES
from driftcam.engines.motion.flow import OPEN_PIXELS, DisFlow, FlowEstimator, FlowGate, Motion, scale_flow
from driftcam.engines.noise import Readout, WarpedField
from driftcam.engines.noise.normals import fill_normals

# Frames for which a still picture is compared with the same earlier one, so that motion below the gate's threshold adds
# up until it is seen.
_HOLD_FRAMES = 30
# Mean difference in grey levels over a small window up to which a picture shows nothing but its sensor's noise.
_NOTHING_NEW, _WINDOW = 2.5, (7, 7)
_NEIGHBOURS = np.ones((3, 3), np.uint8)
# Side in cells of the smallest thing that carries noise of its own. Measured on a still camera's clip with people two
# cells wide: where each carries noise, the painting changes 1.7 times as much between frames as where none does.
_OWN_CELLS = 5


class TemporalNoise:
    """White Gaussian noise (steps, C, h, w) for each frame of one stream; call from one thread.

    The fields of all steps and channels share one warped grid of `points` × `points` pixels a cell: their noise is
    independent, their motion the same.

    Attributes:
        timings: milliseconds of the last frame by part: `flow`, `gate`, `warp`, `readout`.
        cut: the last frame began another scene.
        motion: what moved in the last frame, None where nothing did; the next frame overwrites it.
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
        flow: FlowEstimator | None = None,
    ) -> None:
        self._seed, self._points, self._kernel = seed, points, readout
        self._flow = flow or DisFlow()
        self._previous: np.ndarray | None = None
        self.motion: Motion | None = None
        self.timings = dict.fromkeys(("flow", "gate", "warp", "readout"), 0.0)
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
        self._forget()

    def reset(self, seed: int | None = None) -> None:
        """Start anew from `seed`, or from the same seed as before."""
        self._seed = self._seed if seed is None else seed
        steps, channels, height, width = self._out.shape
        self.resize(height, width, channels, steps)

    def advance(
        self,
        luma: np.ndarray,
        *,
        mode: str = "warped",
        refresh: float = 0.0,
        degradation: float = 0.0,
        jump: tuple[int, int] = (0, 0),
    ) -> np.ndarray:
        """The noise for the next frame.

        Args:
            luma: (H, W) uint8 grey picture of the frame at working size (`image.luma.working_size`). A change of its
                size starts the comparison anew and keeps the noise.
            mode: `warped` along the flow since the last frame, `fixed` as it was, `independent` of every other frame.
            refresh: least share α of fresh noise, 0 to 1; raised where the flow cannot be trusted, 1 on a cut.
            degradation: γ, 0 keeps the noise, 1 is independent noise.
            jump: (x, y) whole cells by which the whole picture is known to have moved; `luma` shows the rest.

        Returns: (steps, C, h, w) float32, standard normal; the next call overwrites it.
        """
        if luma.dtype != np.uint8 or luma.ndim != 2 or min(luma.shape) < 16:
            raise ParameterError("luma", f"{luma.dtype} {luma.shape}", "give a grey picture (h, w) of uint8, h, w ≥ 16")
        if mode not in NOISE_MODES:
            raise ParameterError("noise", mode, f"choose from: {', '.join(NOISE_MODES)}")
        self.timings = dict.fromkeys(self.timings, 0.0)
        self.cut = False
        if mode == "independent":
            self._forget()
            return self._independent()
        if mode == "fixed":
            self._forget()
        elif self._previous is None or self._previous.shape != luma.shape:
            self._previous = luma.copy()
            height, width = luma.shape
            self._gate = FlowGate(height, width, region=round(_OWN_CELLS * width / self._out.shape[3]))
            self._held = 0
        else:
            self._follow(self._previous, luma, refresh, jump)
        return self._degraded(degradation)

    def advance_with_flow(
        self,
        forward: np.ndarray,
        backward: np.ndarray | None = None,
        confidence: np.ndarray | None = None,
        *,
        refresh: float = 0.0,
        degradation: float = 0.0,
    ) -> np.ndarray:
        """`advance` along a known flow.

        Args:
            forward, backward: (H, W, 2) float32 flow previous → current and current → previous, in pixels of an H×W
                picture of any size; without `backward` newly seen places are guessed from −forward.
            confidence: (H, W) float32 trust in the flow, 0 to 1, in the current picture's pixels.
        """
        for name, value, shape in (
            ("forward", forward, (*np.shape(forward)[:2], 2)),
            ("backward", backward, (*np.shape(forward)[:2], 2)),
            ("confidence", confidence, np.shape(forward)[:2]),
        ):
            if value is not None and (
                value.dtype != np.float32 or value.shape != shape or not np.isfinite(value).all()
            ):
                raise ParameterError(name, f"{value.dtype} {value.shape}", f"give finite float32 of shape {shape}")
        self._carry(forward, backward, confidence, refresh)
        return self._degraded(degradation)

    def _carry(
        self, forward: np.ndarray, backward: np.ndarray | None, confidence: np.ndarray | None, refresh: float
    ) -> None:
        started = perf_counter()
        height, width = self._field.height, self._field.width
        forward = scale_flow(forward, height, width, self._forward)
        if backward is not None:
            backward = scale_flow(backward, height, width, self._backward)
        if confidence is not None:
            cv2.resize(confidence, (width, height), dst=self._confidence, interpolation=cv2.INTER_LINEAR)
            confidence = self._confidence
        self._field.step(forward, backward, confidence, refresh)
        self.timings["warp"] = 1e3 * (perf_counter() - started)
        self._read()

    def _follow(self, previous: np.ndarray, luma: np.ndarray, refresh: float, jump: tuple[int, int]) -> None:
        if jump != (0, 0):
            self._move(previous, jump)
        motion = self.motion = self._motion(previous, luma)
        self.cut = motion is not None and motion.cut
        still = motion is None or (motion.still and not self.cut)
        cells = self._out.shape[:1:-1]
        if self.cut:
            self._flow.reset()
            self._field.redraw()
            self._read()
        elif motion is None or still:
            if jump != (0, 0) or refresh > 0:  # else the noise is what it was
                uniform = np.divide(jump, cells, dtype=np.float32).reshape(1, 1, 2)
                self._carry(uniform, -uniform, None, refresh)
        else:
            whole = np.array(jump, np.float32) * luma.shape[::-1] / cells
            motion.forward[:] += whole
            motion.backward[:] -= whole
            self._carry(motion.forward, motion.backward, motion.confidence, refresh)
        self._held = self._held + 1 if still and jump == (0, 0) else 0
        if self._held % _HOLD_FRAMES == 0:
            np.copyto(previous, luma)

    def _motion(self, previous: np.ndarray, luma: np.ndarray) -> Motion | None:
        """What moves between two pictures; None where they differ by no more than their sensor's noise."""
        started = perf_counter()
        if not self._changed(previous, luma):
            return None
        forward, backward = self._flow.estimate(previous, luma)
        estimated = perf_counter()
        motion = self._gate.apply(previous, luma, forward, backward)
        self.timings["flow"] = 1e3 * (estimated - started)
        self.timings["gate"] = 1e3 * (perf_counter() - estimated)
        return motion

    def _changed(self, previous: np.ndarray, luma: np.ndarray) -> bool:
        """Whether any place differs by more than its sensor's noise and a motion below the gate's threshold."""
        difference = cv2.blur(cv2.absdiff(previous, luma), _WINDOW)
        # The range in a 3×3 neighbourhood is what two pixels of motion change; subtraction ends at 0.
        slope = cv2.blur(cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, _NEIGHBOURS), _WINDOW)
        difference = cv2.subtract(difference, cv2.convertScaleAbs(slope, alpha=OPEN_PIXELS / 2))
        edge = -(-luma.shape[1] // self._out.shape[3])  # what comes in at the borders brings no noise from anywhere
        return bool(difference[edge:-edge, edge:-edge].max() > _NOTHING_NEW)

    def _move(self, previous: np.ndarray, jump: tuple[int, int]) -> None:
        """Move the previous picture along, in place, so that only what the jump does not explain is left to find."""
        x, y = np.array(jump) * previous.shape[::-1] / self._out.shape[:1:-1]
        move = np.array([[1, 0, x], [0, 1, y]])
        np.copyto(previous, cv2.warpAffine(previous, move, previous.shape[::-1], borderMode=cv2.BORDER_REPLICATE))

    def _forget(self) -> None:
        """Compare the next frame with none before."""
        self._previous = None
        self.motion = None
        self._flow.reset()
        self._held = 0
        self.cut = False

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
