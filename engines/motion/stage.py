"""What moved since the frame before, found once a frame: noise, carried state, masks and insight all read it."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import cv2
import numpy as np

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.motion.flow import OPEN_PIXELS, DisFlow, FlowEstimator, FlowGate, Motion

# Frames for which a still picture is compared with the same earlier one, so that motion below the gate's threshold adds
# up until it is seen.
_HOLD_FRAMES = 30
# Mean difference in grey levels over a small window up to which a picture shows nothing but its sensor's noise.
_NOTHING_NEW, _WINDOW = 2.5, (7, 7)
_NEIGHBOURS = np.ones((3, 3), np.uint8)
# Side in cells of the smallest thing that carries noise of its own. Measured on a still camera's clip with people two
# cells wide: where each carries noise, the painting changes 1.7 times as much between frames as where none does.
_OWN_CELLS = 5


@dataclass(frozen=True)
class FrameMotion:
    """How a frame's picture came from that of the frame before it.

    Attributes:
        jump: (x, y) whole cells by which the whole scene moved in the networks' picture; see `Anchor`.
        flow: what moves, with the jump, or None where no pixel but by the jump; the next frame overwrites it.
        first: there is no frame before to compare with.
    """

    jump: tuple[int, int] = (0, 0)
    flow: Motion | None = None
    first: bool = False

    @property
    def cut(self) -> bool:
        """The frame shows another scene than the one before."""
        return self.flow is not None and self.flow.cut

    @property
    def still(self) -> bool:
        """No pixel moves but by the jump, and it is the same scene."""
        return self.flow is None


FIRST = FrameMotion(first=True)


class MotionStage:
    """Compares each frame of one stream with the one before; call from one thread.

    Args:
        cells: (height, width) in cells of the latent grid that the pictures lie on.
        flow: estimates the flow; OpenCV's dense inverse search unless told otherwise.

    Attributes:
        timings: milliseconds of the last frame by part: `flow` and `gate`.
        motion: of the last frame.
    """

    def __init__(self, cells: tuple[int, int], *, flow: FlowEstimator | None = None) -> None:
        self._cells = cells
        self._flow = flow or DisFlow()
        self._previous: np.ndarray | None = None
        self._held = 0
        self.timings = dict.fromkeys(("flow", "gate"), 0.0)
        self.motion = FIRST

    def reset(self) -> None:
        """Compare the next frame with none before."""
        self._previous = None
        self._flow.reset()
        self._held = 0
        self.timings = dict.fromkeys(self.timings, 0.0)
        self.motion = FIRST

    def advance(self, luma: np.ndarray, jump: tuple[int, int] = (0, 0)) -> FrameMotion:
        """What moved between the frame before and this one.

        Args:
            luma: (H, W) uint8 grey picture of the frame at working size (`image.luma.working_size`). A change of its
                size starts the comparison anew.
            jump: (x, y) whole cells by which the whole picture is known to have moved; `luma` shows the rest.

        Raises:
            ParameterError: `luma` is no such picture.
        """
        if luma.dtype != np.uint8 or luma.ndim != 2 or min(luma.shape) < 16:
            raise ParameterError("luma", f"{luma.dtype} {luma.shape}", "give a grey picture (h, w) of uint8, h, w ≥ 16")
        self.timings = dict.fromkeys(self.timings, 0.0)
        if self._previous is None or self._previous.shape != luma.shape:
            self._previous = luma.copy()
            height, width = luma.shape
            self._gate = FlowGate(height, width, region=round(_OWN_CELLS * width / self._cells[1]))
            self._held = 0
            self.motion = FIRST
        else:
            self.motion = self._follow(self._previous, luma, jump)
        return self.motion

    def _follow(self, previous: np.ndarray, luma: np.ndarray, jump: tuple[int, int]) -> FrameMotion:
        if jump != (0, 0):
            self._move(previous, jump)
        flow = self._compare(previous, luma)
        still = flow is None or (flow.still and not flow.cut)
        if flow is not None and flow.cut:
            self._flow.reset()
        elif flow is not None and not still:
            whole = np.array(jump, np.float32) * luma.shape[::-1] / self._cells[::-1]
            flow.forward[:] += whole
            flow.backward[:] -= whole
        self._held = self._held + 1 if still and jump == (0, 0) else 0
        if self._held % _HOLD_FRAMES == 0:
            np.copyto(previous, luma)
        return FrameMotion(jump, None if still else flow)

    def _compare(self, previous: np.ndarray, luma: np.ndarray) -> Motion | None:
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
        edge = -(-luma.shape[1] // self._cells[1])  # what comes in at the borders brings nothing from anywhere
        return bool(difference[edge:-edge, edge:-edge].max() > _NOTHING_NEW)

    def _move(self, previous: np.ndarray, jump: tuple[int, int]) -> None:
        """Move the previous picture along, in place, so that only what the jump does not explain is left to find."""
        x, y = np.array(jump) * previous.shape[::-1] / self._cells[::-1]
        move = np.array([[1, 0, x], [0, 1, y]])
        np.copyto(previous, cv2.warpAffine(previous, move, previous.shape[::-1], borderMode=cv2.BORDER_REPLICATE))
