"""The camera's part of the flow: one affine motion, measured far more exactly than the flow of any single pixel.

Errors of a tenth of a pixel in dense flow add up to visible drift in a second, and their scatter tears the noise. Most
of a picture usually moves with the camera, so an affine motion is fitted to the flow, refined on the pictures
themselves (Lucas-Kanade: Gauss-Newton on the squared difference, with Cauchy weights against what moves otherwise), and
put in place of the flow where the two agree.

Motions are six numbers a: dx = a₀ + a₁x + a₂y and dy = a₃ + a₄x + a₅y, with x and y in pixels from the centre.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_F32 = np.float32
# Deviation of the flow from the camera's motion, in pixels, that is error alone, and that is motion of its own.
_ERROR_PIXELS, _OWN_MOTION_PIXELS = 0.2, 0.45
_FLOW_SCALE = 0.3
_GREY_SCALE = 8.0
_FIT_ROUNDS, _FIT_STRIDE = 4, 4
_REFINE_STRIDES = (4, 4, 4, 2, 2)  # of one round each: first roughly, then exactly
# No camera stretches its picture more than this between two frames; beyond it, and for NaN, the fit has failed.
_MOST_STRETCH = 0.3


def camera_motion(previous: np.ndarray, current: np.ndarray, forward: np.ndarray, brighter: float) -> np.ndarray:
    """(6,) float64 motion previous → current; zero where none fits.

    Args:
        previous, current: (h, w) uint8 pictures; `brighter` is by how much the current one is exposed brighter.
        forward: (h, w, 2) float32 flow previous → current to start from.
    """
    motion = np.zeros(6)
    fit(forward, motion)
    refine(previous, current, brighter, motion)
    sane = np.abs(motion.reshape(2, 3)[:, 1:]).max() <= _MOST_STRETCH and np.abs(motion).max() <= max(current.shape)
    return motion if sane else np.zeros(6)


def inverse(motion: np.ndarray) -> np.ndarray:
    """The motion current → previous."""
    linear = np.eye(2) + motion.reshape(2, 3)[:, 1:]
    back = np.linalg.inv(linear)
    result = np.empty((2, 3))
    result[:, 0] = -back @ motion.reshape(2, 3)[:, 0]
    result[:, 1:] = back - np.eye(2)
    return result.ravel()


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(matrix: np.ndarray, vector: np.ndarray) -> None:
    """Solve a small positive definite system in place, by elimination; the solution replaces `vector`."""
    n = vector.size
    for i in range(n):
        for j in range(i + 1, n):
            factor = matrix[j, i] / matrix[i, i]
            for k in range(i, n):
                matrix[j, k] -= factor * matrix[i, k]
            vector[j] -= factor * vector[i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def fit(flow: np.ndarray, motion: np.ndarray) -> None:
    """Fit the motion to a flow by reweighted least squares, beginning from `motion`, which it overwrites."""
    height, width = flow.shape[0], flow.shape[1]
    matrix, basis = np.empty((3, 3)), np.ones(3)
    right = np.empty((2, 3))
    for turn in range(_FIT_ROUNDS):
        matrix[:] = 0.0
        right[:] = 0.0
        for y in range(2, height - 2, _FIT_STRIDE):
            for x in range(2, width - 2, _FIT_STRIDE):
                basis[1], basis[2] = x - width / 2, y - height / 2
                ex = flow[y, x, 0] - motion[0] - motion[1] * basis[1] - motion[2] * basis[2]
                ey = flow[y, x, 1] - motion[3] - motion[4] * basis[1] - motion[5] * basis[2]
                # the first round has no estimate yet: a median-like weight
                error = ex * ex + ey * ey
                weight = 1 / (0.1 + np.sqrt(error)) if turn == 0 else 1 / (1 + error / _FLOW_SCALE**2)
                for i in range(3):
                    for j in range(3):
                        matrix[i, j] += weight * basis[i] * basis[j]
                    right[0, i] += weight * basis[i] * flow[y, x, 0]
                    right[1, i] += weight * basis[i] * flow[y, x, 1]
        for i in range(3):
            matrix[i, i] += 1e-6
        _solve(matrix.copy(), right[0])
        _solve(matrix, right[1])
        motion[:3] = right[0]
        motion[3:] = right[1]


@njit(cache=True, nogil=True, error_model="numpy")
def refine(previous: np.ndarray, current: np.ndarray, brighter: float, motion: np.ndarray) -> None:
    """Improve `motion` in place until the current picture, read along it, matches the previous one."""
    height, width = previous.shape
    matrix, step, row = np.empty((6, 6)), np.empty(6), np.empty(6)
    rough_enough = False
    for stride in _REFINE_STRIDES:
        if rough_enough and stride == _REFINE_STRIDES[0]:
            continue
        matrix[:] = 0.0
        step[:] = 0.0
        for y in range(1, height - 1, stride):
            for x in range(1, width - 1, stride):
                px, py = x - width / 2, y - height / 2
                u = x + motion[0] + motion[1] * px + motion[2] * py
                v = y + motion[3] + motion[4] * px + motion[5] * py
                left, top = int(np.floor(u)), int(np.floor(v))
                if left < 1 or top < 1 or left >= width - 2 or top >= height - 2:
                    continue
                a, b = u - left, v - top
                c00, c01 = float(current[top, left]), float(current[top, left + 1])
                c10, c11 = float(current[top + 1, left]), float(current[top + 1, left + 1])
                value = (c00 * (1 - a) + c01 * a) * (1 - b) + (c10 * (1 - a) + c11 * a) * b
                difference = value - brighter - previous[y, x]
                gx = 0.5 * (float(previous[y, x + 1]) - float(previous[y, x - 1]))
                gy = 0.5 * (float(previous[y + 1, x]) - float(previous[y - 1, x]))
                weight = 1 / (1 + (difference / _GREY_SCALE) ** 2)
                row[0], row[1], row[2] = gx, gx * px, gx * py
                row[3], row[4], row[5] = gy, gy * px, gy * py
                for i in range(6):
                    scaled = weight * row[i]
                    for j in range(i, 6):
                        matrix[i, j] += scaled * row[j]
                    step[i] -= scaled * difference
        for i in range(6):
            # without texture nothing moves the estimate; positions count by their distance from the centre
            matrix[i, i] += 100.0 if i % 3 == 0 else 100.0 * width * height
            for j in range(i):
                matrix[i, j] = matrix[j, i]
        _solve(matrix, step)
        motion += step
        moved = max(abs(step[0]), abs(step[3]))
        if stride == _REFINE_STRIDES[-1] and moved < 0.003:
            return
        rough_enough = moved < 0.03


@njit(cache=True, nogil=True, error_model="numpy")
def follow(motion: np.ndarray, flow: np.ndarray) -> None:
    """Replace the flow by the motion where they agree up to the flow's error; blend up to a motion of its own."""
    height, width = flow.shape[0], flow.shape[1]
    a = motion.astype(np.float32)
    error, slope = _F32(_ERROR_PIXELS), _F32(1 / (_OWN_MOTION_PIXELS - _ERROR_PIXELS))
    for y in range(height):
        py = _F32(y) - _F32(height) / _F32(2)
        for x in range(width):
            px = _F32(x) - _F32(width) / _F32(2)
            dx = a[0] + a[1] * px + a[2] * py - flow[y, x, 0]
            dy = a[3] + a[4] * px + a[5] * py - flow[y, x, 1]
            share = _F32(1) - (np.sqrt(dx * dx + dy * dy) - error) * slope
            share = min(max(share, _F32(0)), _F32(1))
            flow[y, x, 0] += share * dx
            flow[y, x, 1] += share * dy
