"""The camera's part of the flow: one affine motion, measured far more exactly than the flow of any single pixel.

Errors of a tenth of a pixel in dense flow add up to visible drift in a second, and their scatter tears the noise. Most
of a picture usually moves with the camera, so an affine motion is fitted to the flow, refined on the pictures
themselves (Lucas-Kanade: Gauss-Newton on the squared difference, with Cauchy weights against what moves otherwise), and
put in place of the flow where the two agree.

Motions are six numbers a: dx = a₀ + a₁x + a₂y and dy = a₃ + a₄x + a₅y, with x and y in pixels from the centre.
"""

from __future__ import annotations

import numpy as np

from driftcam.engines.kernels import njit

_F32 = np.float32
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}  # what numba may do to sums; NaN and infinity stay what they are
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
    x, xx, xy, y, yx, yy = motion.tolist()
    across, along = 1 + xx, 1 + yy
    determinant = across * along - xy * yx
    a, b, c, d = along / determinant, -xy / determinant, -yx / determinant, across / determinant
    return np.array([-a * x - b * y, a - 1, b, -c * x - d * y, c, d - 1])


@njit(nogil=True, error_model="numpy")
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


@njit(nogil=True, inline="always")
def _add(matrix: np.ndarray, i: int, j: int, y: float, sums: tuple[float, float, float]) -> None:
    """Add a row's sums of 1, x and x² to the 3 × 3 part of `matrix` at (i, j): the products of the basis 1, x, y."""
    one, x, xx = sums
    matrix[i, j] += one
    matrix[i, j + 1] += x
    matrix[i, j + 2] += y * one
    matrix[i + 1, j + 1] += xx
    matrix[i + 1, j + 2] += y * x
    matrix[i + 2, j + 2] += y * y * one


@njit(nogil=True)
def _mirror(matrix: np.ndarray) -> None:
    """Fill in what lies below the diagonal."""
    for i in range(matrix.shape[0]):
        for j in range(i):
            matrix[i, j] = matrix[j, i]


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _weigh_flow(row: np.ndarray, py: float, motion: np.ndarray, first: bool) -> tuple:
    """Sums over a row of a flow: weight × 1, x, x²; weight × dx × 1, x; weight × dy × 1, x."""
    width = row.shape[0]
    flat, start_x, start_y = row.reshape(-1), motion[0] + motion[2] * py, motion[3] + motion[5] * py
    one = x_ = xx = dx = dx_x = dy = dy_x = 0.0
    for k in range((width - 1) // _FIT_STRIDE):
        px = 2 + k * _FIT_STRIDE - width / 2
        u, v = float(flat[4 + 2 * _FIT_STRIDE * k]), float(flat[5 + 2 * _FIT_STRIDE * k])
        ex, ey = u - start_x - motion[1] * px, v - start_y - motion[4] * px
        error = ex * ex + ey * ey
        # the first round has no estimate yet: a median-like weight
        weight = 1 / (0.1 + np.sqrt(error)) if first else 1 / (1 + error / _FLOW_SCALE**2)
        one += weight
        x_ += weight * px
        xx += weight * px * px
        dx += weight * u
        dx_x += weight * u * px
        dy += weight * v
        dy_x += weight * v * px
    return (one, x_, xx), ((dx, dx_x), (dy, dy_x))


@njit(nogil=True, error_model="numpy")
def fit(flow: np.ndarray, motion: np.ndarray) -> None:
    """Fit the motion to a flow by reweighted least squares, beginning from `motion`, which it overwrites."""
    height = flow.shape[0]
    matrix, right = np.empty((3, 3)), np.empty((2, 3))
    for turn in range(_FIT_ROUNDS):
        matrix[:] = 0.0
        right[:] = 0.0
        for y in range(2, height - 2, _FIT_STRIDE):
            py = y - height / 2
            weights, moved = _weigh_flow(flow[y], py, motion, turn == 0)
            _add(matrix, 0, 0, py, weights)
            for i, (one, x_) in enumerate(moved):
                right[i, 0] += one
                right[i, 1] += x_
                right[i, 2] += py * one
        _mirror(matrix)
        for i in range(3):
            matrix[i, i] += 1e-6
        _solve(matrix.copy(), right[0])
        _solve(matrix, right[1])
        motion[:3] = right[0]
        motion[3:] = right[1]


@njit(nogil=True, error_model="numpy")
def _normal_equations(
    previous: np.ndarray,
    current: np.ndarray,
    brighter: float,
    motion: np.ndarray,
    stride: int,
    matrix: np.ndarray,
    step: np.ndarray,
) -> None:
    """One round of Gauss-Newton over every `stride`-th pixel: what to solve for the change of `motion`."""
    height, width = previous.shape
    matrix[:] = 0.0
    step[:] = 0.0
    for y in range(1, height - 1, stride):
        py = y - height / 2
        start_u, start_v = motion[0] + motion[2] * py, y + motion[3] + motion[5] * py
        # sums over the row of weight × products of the gradient and the difference × 1, x, x²
        xx = xx_x = xx_xx = xy = xy_x = xy_xx = yy = yy_x = yy_xx = 0.0
        xd = xd_x = yd = yd_x = 0.0
        for x in range(1, width - 1, stride):
            px = x - width / 2
            u, v = x + start_u + motion[1] * px, start_v + motion[4] * px
            if not (1 <= u < width - 2 and 1 <= v < height - 2):
                continue
            left, top = np.uint32(u), np.uint32(v)
            below, right = np.uint32(top + np.uint32(1)), np.uint32(left + np.uint32(1))
            a, b = u - left, v - top
            upper = current[top, left] * (1 - a) + current[top, right] * a
            lower = current[below, left] * (1 - a) + current[below, right] * a
            difference = upper * (1 - b) + lower * b - brighter - previous[y, x]
            gx = 0.5 * (float(previous[y, x + 1]) - float(previous[y, x - 1]))
            gy = 0.5 * (float(previous[y + 1, x]) - float(previous[y - 1, x]))
            weight = 1 / (1 + (difference / _GREY_SCALE) ** 2)
            wx, wy = weight * gx, weight * gy
            xx += wx * gx
            xx_x += wx * gx * px
            xx_xx += wx * gx * px * px
            xy += wx * gy
            xy_x += wx * gy * px
            xy_xx += wx * gy * px * px
            yy += wy * gy
            yy_x += wy * gy * px
            yy_xx += wy * gy * px * px
            xd += wx * difference
            xd_x += wx * difference * px
            yd += wy * difference
            yd_x += wy * difference * px
        _add(matrix, 0, 0, py, (xx, xx_x, xx_xx))
        _add(matrix, 0, 3, py, (xy, xy_x, xy_xx))
        _add(matrix, 3, 3, py, (yy, yy_x, yy_xx))
        for i, (one, x_) in enumerate(((xd, xd_x), (yd, yd_x))):
            step[3 * i] -= one
            step[3 * i + 1] -= x_
            step[3 * i + 2] -= py * one


@njit(nogil=True, error_model="numpy")
def refine(previous: np.ndarray, current: np.ndarray, brighter: float, motion: np.ndarray) -> None:
    """Improve `motion` in place until the current picture, read along it, matches the previous one."""
    matrix, step = np.empty((6, 6)), np.empty(6)
    rough_enough = False
    for stride in _REFINE_STRIDES:
        if rough_enough and stride == _REFINE_STRIDES[0]:
            continue
        _normal_equations(previous, current, brighter, motion, stride, matrix, step)
        for i in range(3):  # the part that _add leaves out of a product of x and y with itself
            for j in range(i):
                matrix[i, 3 + j] = matrix[j, 3 + i]
        for i in range(6):
            # without texture nothing moves the estimate; positions count by their distance from the centre
            matrix[i, i] += 100.0 if i % 3 == 0 else 100.0 * previous.size
        _mirror(matrix)
        _solve(matrix, step)
        motion += step
        moved = max(abs(step[0]), abs(step[3]))
        if stride == _REFINE_STRIDES[-1] and moved < 0.003:
            return
        rough_enough = moved < 0.03


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def follow(motion: np.ndarray, flow: np.ndarray) -> None:
    """Replace the flow by the motion where they agree up to the flow's error; blend up to a motion of its own."""
    height, width = flow.shape[0], flow.shape[1]
    a = motion.astype(np.float32)
    error, own = _F32(_ERROR_PIXELS), _F32(_OWN_MOTION_PIXELS)
    for y in range(height):
        py = _F32(y) - _F32(height) / _F32(2)
        for x in range(width):
            px = _F32(x) - _F32(width) / _F32(2)
            camera_x, camera_y = a[0] + a[1] * px + a[2] * py, a[3] + a[4] * px + a[5] * py
            dx, dy = camera_x - flow[y, x, 0], camera_y - flow[y, x, 1]
            squared = dx * dx + dy * dy
            if squared <= error * error:  # most of most pictures: no root, no rounding
                flow[y, x, 0], flow[y, x, 1] = camera_x, camera_y
            elif squared < own * own:
                share = (own - np.sqrt(squared)) / (own - error)
                flow[y, x, 0] += share * dx
                flow[y, x, 1] += share * dy
