"""From the fine noise grid to one white value per latent cell, through a kernel that keeps a shift a shift.

White noise read through a kernel whose translates by whole cells are orthonormal stays exactly white. The paper's
kernel is a box (arXiv 2501.08331, block mean times d): its reading falls to a correlation of 1−d under a shift of d
cells, so slow motion boils. With a band-limited kernel it falls to sinc(d), and the reading shifts as a picture would.
The kernel here is the root-raised-cosine pulse, cut to a finite support and moved to the nearest kernel that is
orthonormal to rounding error.

Cells at the border read across it, from the opposite side: on the torus orthonormality needs no margin.
"""

from __future__ import annotations

import functools

import numpy as np

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.kernels import njit

KERNELS = ("band_limited", "block_mean")
_ROLL_OFF = 0.1
_SUPPORT_CELLS = 6
_PHASES_PER_POINT = 16
_MOST_PHASE = 10
_CHUNK = 2048


def root_raised_cosine(x: np.ndarray, roll_off: float) -> np.ndarray:
    """The pulse whose autocorrelation is the raised cosine: orthonormal under integer shifts; x in cells."""
    x = np.asarray(x, np.float64)
    corner = 1 / (4 * roll_off)
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = np.sin(np.pi * x * (1 - roll_off)) + 4 * roll_off * x * np.cos(np.pi * x * (1 + roll_off))
        pulse = rise / (np.pi * x * (1 - (x / corner) ** 2))
    a, b = (1 + 2 / np.pi) * np.sin(np.pi * corner), (1 - 2 / np.pi) * np.cos(np.pi * corner)
    pulse = np.where(np.abs(np.abs(x) - corner) < 1e-7, roll_off / np.sqrt(2) * (a + b), pulse)
    return np.where(np.abs(x) < 1e-9, 1 - roll_off + 4 * roll_off / np.pi, pulse)


def orthonormalised(kernel: np.ndarray, points: int) -> np.ndarray:
    """The nearest kernel of the same support with Σ_x h(x)·h(x + m·points) = δ_m, by Newton's method."""
    cells = len(kernel) // points
    goal = np.eye(1, cells)[0]
    for _ in range(30):
        ahead = np.stack([np.pad(kernel[m * points :], (0, m * points)) for m in range(cells)])
        behind = np.stack([np.pad(kernel[: len(kernel) - m * points], (m * points, 0)) for m in range(cells)])
        error = ahead @ kernel - goal
        if np.abs(error).max() < 1e-13:
            return kernel
        kernel = kernel - np.linalg.lstsq(ahead + behind, error, rcond=None)[0]
    raise ArithmeticError("the kernel does not become orthonormal")


def band_limited_kernel(points: int, phase: float = 0.0) -> np.ndarray:
    """Taps on a grid of `points` per cell for noise that lies `phase` points to the right of its pixels."""
    taps = np.arange(_SUPPORT_CELLS * points)
    x = (taps - (len(taps) - 1) / 2 + phase) / points
    return orthonormalised(root_raised_cosine(x, _ROLL_OFF) / np.sqrt(points), points)


@functools.cache
def kernel_bank(name: str, points: int) -> np.ndarray:
    """(phases, taps) float32: one kernel for each sixteenth of a point; the block mean has a single one."""
    if name == "block_mean":
        return np.full((1, points), 1 / np.sqrt(points), np.float32)
    if name == "band_limited":
        if points % 2:
            raise ParameterError("points", points, "give an even number; the kernel is centred between two points")
        phases = np.arange(-_MOST_PHASE, _MOST_PHASE + 1) / _PHASES_PER_POINT
        return np.stack([band_limited_kernel(points, phase) for phase in phases]).astype(np.float32)
    raise ParameterError("readout", name, f"choose from: {', '.join(KERNELS)}")


class Readout:
    """Reads a (H·W, C) field of `points` × `points` pixels a cell as C planes of cells."""

    def __init__(self, name: str, points: int, cells_height: int, cells_width: int, channels: int) -> None:
        self.cells_height, self.cells_width, self.points, self.channels = cells_height, cells_width, points, channels
        self._bank = kernel_bank(name, points)
        self._columns = np.empty((cells_width * points, cells_height, channels), np.float32)
        self._cells = np.empty((cells_width, cells_height * channels), np.float32)

    def read(self, values: np.ndarray, phase: np.ndarray, out: np.ndarray) -> None:
        """Write the cells to `out` (C, h, w) float32; `phase` is (x, y) of the noise's dominant residual in points."""
        rows = values.reshape(self.cells_height * self.points, self.cells_width * self.points, self.channels)
        across, down = (self._kernel(float(residual)) for residual in phase)
        start = (self.points - len(down)) // 2
        _filter_rows(rows, down, start, self.points, self._columns)
        flat = self._columns.reshape(len(self._columns), -1)
        _decimate(flat, across, start, self.points, self._cells)
        _to_planes(self._cells.reshape(self.cells_width, self.cells_height, self.channels), out)

    def _kernel(self, phase: float) -> np.ndarray:
        middle = len(self._bank) // 2
        return self._bank[min(max(middle + round(phase * _PHASES_PER_POINT), 0), len(self._bank) - 1)]


@njit(nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _weighted_sum(rows: np.ndarray, kernel: np.ndarray, first: int, left: int, right: int, out: np.ndarray) -> None:
    """out = Σ_t kernel[t]·rows[first + t, left:right], the row index taken around the torus."""
    total = rows.shape[0]
    out[: right - left] = 0.0
    t = 0
    while t + 4 <= kernel.size:
        a = rows[(first + t) % total, left:right]
        b = rows[(first + t + 1) % total, left:right]
        c = rows[(first + t + 2) % total, left:right]
        d = rows[(first + t + 3) % total, left:right]
        ka, kb, kc, kd = kernel[t], kernel[t + 1], kernel[t + 2], kernel[t + 3]
        for i in range(right - left):
            out[i] += ka * a[i] + kb * b[i] + kc * c[i] + kd * d[i]
        t += 4
    while t < kernel.size:
        a, ka = rows[(first + t) % total, left:right], kernel[t]
        for i in range(right - left):
            out[i] += ka * a[i]
        t += 1


@njit(nogil=True)
def _filter_rows(rows: np.ndarray, kernel: np.ndarray, start: int, stride: int, out: np.ndarray) -> None:
    """(H, W, C) → (W, h, C): weighted sums of rows, one for each cell, and the transposition for the next pass."""
    height, width, channels = rows.shape
    flat = rows.reshape(height, width * channels)
    pixels = max(1, _CHUNK // channels)
    sums = np.empty(pixels * channels, np.float32)
    for x in range(0, width, pixels):
        count = min(pixels, width - x)
        for cell in range(out.shape[1]):
            _weighted_sum(flat, kernel, start + cell * stride, x * channels, (x + count) * channels, sums)
            for i in range(count):
                for c in range(channels):
                    out[x + i, cell, c] = sums[i * channels + c]


@njit(nogil=True)
def _decimate(rows: np.ndarray, kernel: np.ndarray, start: int, stride: int, out: np.ndarray) -> None:
    """(W, n) → (w, n): weighted sums of rows, one for each cell."""
    for cell in range(out.shape[0]):
        _weighted_sum(rows, kernel, start + cell * stride, 0, rows.shape[1], out[cell])


@njit(nogil=True)
def _to_planes(cells: np.ndarray, out: np.ndarray) -> None:
    """(w, h, C) → (C, h, w)."""
    width, height, channels = cells.shape
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                out[c, y, x] = cells[x, y, c]
