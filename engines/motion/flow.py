"""Optical flow between two small grey pictures, its trust, and the gate that keeps a still picture still.

Flow is (h, w, 2) float32 in pixels of the working picture, dx right and dy down. `forward` says where a pixel of the
previous picture went, `backward` where a pixel of the current picture came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from driftcam.engines.kernels import njit
from driftcam.engines.motion.camera import FASTMATH, camera_motion, follow, inverse

_F32, _U32 = np.float32, np.uint32
_ONE, _TWO, _THREE, _BYTE = _U32(8), _U32(16), _U32(24), _U32(255)  # places in a word of four bytes
# The gate opens where the flow is at least OPEN_PIXELS long and leaves at most OPEN_RATIO of the squared difference
# between the pictures; it closes again below the second pair. Interpolating noise alone lowers the ratio to .63.
OPEN_PIXELS, CLOSE_PIXELS = 0.15, 0.08
OPEN_RATIO, CLOSE_RATIO = 0.5, 0.75
# Where a window shows no texture, the evidence of the whole picture decides, with this weight.
GLOBAL_EVIDENCE = 0.3
EVIDENCE_WINDOW = 7
# Root mean square difference in grey levels that is still the same surface, and that certainly is not.
SAME_SURFACE, OTHER_SURFACE = 14.0, 40.0
# Where nothing can be trusted half of it still is: noise fresh on every frame boils more than wrong noise slides.
LEAST_TRUST = 0.5
# A cut leaves more than this share of the picture's variance unexplained, and more than this many grey levels.
CUT_UNEXPLAINED, CUT_LEVELS = 0.5, 16.0


class FlowEstimator(Protocol):
    """Estimates flow in both directions. Called from one thread, once a frame."""

    def estimate(self, previous: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(forward, backward) of two (h, w) uint8 pictures, C-contiguous; the next call may use the arrays again."""
        ...

    def reset(self) -> None:
        """Forget the frames so far: the next pictures belong to another scene."""
        ...


class DisFlow:
    """OpenCV's dense inverse search (Kroeger et al. 2016, arXiv 1603.03590), begun from the flow of the last frame."""

    def __init__(self) -> None:
        # Finest scale 1, half resolution, in both directions: a backward flow at a quarter is .4 ms cheaper, but
        # contradicts the forward flow inside objects that move for themselves.
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setFinestScale(1)
        self._forward = self._backward = np.empty((0, 0, 2), np.float32)

    def estimate(self, previous: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._forward.shape[:2] != current.shape:
            self._forward, self._backward = np.zeros((2, *current.shape, 2), np.float32)
        self._dis.calc(previous, current, self._forward)
        self._dis.calc(current, previous, self._backward)
        return self._forward, self._backward

    def reset(self) -> None:
        self._forward.fill(0.0)
        self._backward.fill(0.0)


@dataclass(frozen=True)
class Motion:
    """What changed between two pictures.

    Attributes:
        forward, backward: (h, w, 2) float32 flow, zero where the gate is closed.
        confidence: (h, w) float32, `LEAST_TRUST` to 1, trust in the flow at the current picture's pixels.
        cut: the current picture shows another scene.
        still: no pixel moves.
    """

    forward: np.ndarray
    backward: np.ndarray
    confidence: np.ndarray
    cut: bool = False
    still: bool = False


class FlowGate:
    """Photometric gate with hysteresis: flow counts only where warping by it explains the change of the picture.

    `region` is the side in pixels of the smallest square that may move for itself. What is smaller has no room for
    strokes of its own: noise carried with it only stirs those of its surroundings.
    """

    def __init__(self, height: int, width: int, region: int = 1) -> None:
        self._open = np.zeros((2, height, width), np.uint8)
        self._moving = np.zeros((height, width), np.uint8)
        self._region = np.ones((region, region), np.uint8)
        self._stay, self._moved = np.empty((2, height, width), np.float32)
        self._corners = np.empty((height, width), np.uint32)
        self._smooth = np.empty((height, width, 2), np.float32)
        self._confidence = np.empty((height, width), np.float32)

    def apply(self, previous: np.ndarray, current: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> Motion:
        """Zero the flow where the gate is closed (in place) and rate the rest; pictures are (h, w) uint8.

        Where it is closed the noise stays, and is trusted: fresh noise on every frame would be the worst of all.
        """
        window = (EVIDENCE_WINDOW, EVIDENCE_WINDOW)
        # A change of exposure is no motion and no cut.
        exposure = _median_difference(previous, current)
        camera = camera_motion(previous, current, forward, exposure)
        follow(camera, forward)
        follow(inverse(camera), backward)
        moving = 0
        # The backward pass comes last: its differences, in the current picture's pixels, rate the confidence.
        for state, (here, there, flow, brighter) in zip(
            self._open, ((previous, current, forward, -exposure), (current, previous, backward, exposure)), strict=True
        ):
            stay, moved = _differences(here, there, self._corners, flow, brighter, self._stay, self._moved)
            cv2.blur(self._stay, window, dst=self._stay)
            cv2.blur(self._moved, window, dst=self._moved)
            cv2.blur(flow, (5, 5), dst=self._smooth)
            _gate(flow, self._smooth, self._stay, self._moved, stay, moved, state)
            cv2.morphologyEx(state, cv2.MORPH_OPEN, self._region, dst=self._moving, borderType=cv2.BORDER_REPLICATE)
            moving += _keep(flow, self._moving)
        cut = is_cut(min(stay, moved), current)
        _rate(forward, backward, self._moved, self._moving, self._confidence)
        return Motion(forward, backward, self._confidence, cut, moving == 0)


def is_cut(unexplained: float, current: np.ndarray) -> bool:
    """Whether a mean squared difference after warping (grey levels²) is too large for one scene.

    Against its variance: what differs by as much as pictures of different things do is another scene.
    """
    return unexplained > CUT_LEVELS**2 and unexplained > CUT_UNEXPLAINED * float(current.std()) ** 2


def scale_flow(flow: np.ndarray, height: int, width: int, out: np.ndarray) -> np.ndarray:
    """Resample a flow (H, W, 2) to another picture's size and pixels, each axis by its own ratio."""
    if flow.shape[:2] == (height, width):
        np.copyto(out, flow)
        return out
    cv2.resize(flow, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
    ratio = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    out.reshape(height, 2 * width)[:] *= np.tile(ratio, width)
    return out


@njit(nogil=True)
def _median_difference(previous: np.ndarray, current: np.ndarray) -> float:
    """Median of current − previous over every fourth pixel both ways."""
    counts = np.zeros(511, np.int64)
    total = 0
    for y in range(0, current.shape[0], 4):
        for x in range(0, current.shape[1], 4):
            counts[255 + int(current[y, x]) - int(previous[y, x])] += 1
            total += 1
    seen, lower = 0, -1
    for level in range(511):
        seen += counts[level]
        if lower < 0 and 2 * seen >= total:
            lower = level
        if 2 * seen > total:
            return 0.5 * (lower + level) - 255
    return 0.0


@njit(nogil=True)
def _pack_corners(picture: np.ndarray, out: np.ndarray) -> None:
    """Put each pixel of (h, w) uint8, with those right of it, below it and below right of it, into a uint32.

    The last row and column are repeated.
    """
    height, width = picture.shape
    for y in range(height):
        row, below, packed = picture[y], picture[min(y + 1, height - 1)], out[y]
        for x in range(width - 1):
            upper = _U32(row[x]) | _U32(row[x + 1]) << _ONE
            packed[x] = upper | _U32(below[x]) << _TWO | _U32(below[x + 1]) << _THREE
        upper = _U32(row[width - 1]) | _U32(row[width - 1]) << _ONE
        packed[width - 1] = upper | _U32(below[width - 1]) << _TWO | _U32(below[width - 1]) << _THREE


@njit(nogil=True, inline="always")
def _between(packed: int, a: float, b: float) -> float:
    """The picture at `a` right of and `b` below the pixel of `packed`, both from 0 to 1, in the type of `a`."""
    kind = type(a)
    left, right = kind(np.int32(packed & _BYTE)), kind(np.int32(packed >> _ONE & _BYTE))
    low_left, low_right = kind(np.int32(packed >> _TWO & _BYTE)), kind(np.int32(packed >> _THREE))
    upper, lower = left + (right - left) * a, low_left + (low_right - low_left) * a
    return upper + (lower - upper) * b


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _differences(
    here: np.ndarray,
    there: np.ndarray,
    corners: np.ndarray,
    flow: np.ndarray,
    brighter: float,
    stay: np.ndarray,
    moved: np.ndarray,
) -> tuple[float, float]:
    """Squared differences to the other picture at the same pixel and at the flow's end; returns their means.

    `corners` is scratch. Row by row, so that the processor takes many pixels at once: all but the look-up.
    """
    _pack_corners(there, corners)
    height, width = here.shape
    flat, last_x, last_y, offset = corners.reshape(-1), _F32(width - 1), _F32(height - 1), _F32(brighter)
    across, along, pixels = np.empty(width, _F32), np.empty(width, _F32), np.empty(width, _U32)
    at, sum_stay, sum_moved = np.empty(width, np.int32), _F32(0), _F32(0)
    for y in range(height):
        ours, theirs, motion, stay_row, moved_row = here[y], there[y], flow[y].reshape(-1), stay[y], moved[y]
        for x in range(width):  # a flow that is no number is read at 0
            u = min(max(_F32(0), _F32(np.int32(x)) + motion[2 * x]), last_x)
            v = min(max(_F32(0), _F32(y) + motion[2 * x + 1]), last_y)
            left, top = np.int32(u), np.int32(v)
            across[x], along[x], at[x] = u - _F32(left), v - _F32(top), top * np.int32(width) + left
        for x in range(width):
            pixels[x] = flat[_U32(at[x])]
        for x in range(width):
            value = _F32(ours[x]) - offset
            stayed, warped = value - _F32(theirs[x]), value - _between(pixels[x], across[x], along[x])
            stay_row[x], moved_row[x] = stayed * stayed, warped * warped
            sum_stay += stayed * stayed
            sum_moved += warped * warped
    return float(sum_stay / here.size), float(sum_moved / here.size)


@njit(nogil=True)
def _gate(
    flow: np.ndarray,
    smooth: np.ndarray,
    stay: np.ndarray,
    moved: np.ndarray,
    mean_stay: float,
    mean_moved: float,
    state: np.ndarray,
) -> None:
    """Renew the gate's `state` (1 open)."""
    add_stay = _F32(GLOBAL_EVIDENCE * mean_stay + 1e-3)
    add_moved = _F32(GLOBAL_EVIDENCE * mean_moved)
    for y in range(state.shape[0]):
        for x in range(state.shape[1]):
            open_ = state[y, x] == 1
            least = _F32(CLOSE_PIXELS if open_ else OPEN_PIXELS)
            most = _F32(CLOSE_RATIO if open_ else OPEN_RATIO)
            length = smooth[y, x, 0] ** 2 + smooth[y, x, 1] ** 2
            open_ = length >= least * least and moved[y, x] + add_moved <= most * (stay[y, x] + add_stay)
            state[y, x] = 1 if open_ else 0


@njit(nogil=True)
def _keep(flow: np.ndarray, moving: np.ndarray) -> int:
    """Zero `flow` where nothing is `moving` (1); returns the number of pixels that are."""
    count = 0
    for y in range(moving.shape[0]):
        for x in range(moving.shape[1]):
            if moving[y, x] == 1:
                count += 1
            else:
                flow[y, x, 0], flow[y, x, 1] = _F32(0), _F32(0)
    return count


@njit(nogil=True, error_model="numpy")
def _rate(
    forward: np.ndarray, backward: np.ndarray, moved: np.ndarray, moving: np.ndarray, confidence: np.ndarray
) -> None:
    """Confidence: 1 where nothing moves or both directions agree on the same surface, lower as either fails."""
    height, width = confidence.shape
    same, slope = _F32(SAME_SURFACE), _F32(1 / (OTHER_SURFACE - SAME_SURFACE))
    for y in range(height):
        for x in range(width):
            if moving[y, x] == 0:
                confidence[y, x] = _F32(1)
                continue
            bx, by = backward[y, x, 0], backward[y, x, 1]
            u = np.uint32(min(max(_F32(0), _F32(x) + bx + _F32(0.5)), _F32(width - 1)))
            v = np.uint32(min(max(_F32(0), _F32(y) + by + _F32(0.5)), _F32(height - 1)))
            fx, fy = forward[v, u, 0], forward[v, u, 1]
            error = (fx + bx) ** 2 + (fy + by) ** 2
            tolerance = _F32(0.01) * (fx * fx + fy * fy + bx * bx + by * by) + _F32(0.5)
            if error <= tolerance and moved[y, x] <= same * same:  # most of most pictures
                confidence[y, x] = _F32(1)
                continue
            trust = min(_F32(2) - error / tolerance, _F32(1) - (np.sqrt(moved[y, x]) - same) * slope)
            confidence[y, x] = min(max(_F32(LEAST_TRUST) + _F32(1 - LEAST_TRUST) * trust, _F32(LEAST_TRUST)), _F32(1))
