"""The published warp (Go-with-the-Flow, arXiv 2501.08331) done the slow way, as the yardstick of tests and benchmarks.

As in the paper's code, items that came from one source are found by sorting rows of equal values. All is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class ReferenceState:
    """values (H, W, C), density (H, W), rest (H, W, 2) as x and y."""

    values: np.ndarray
    density: np.ndarray
    rest: np.ndarray


def start(values: np.ndarray) -> ReferenceState:
    """Unit density and no residual."""
    height, width, _ = values.shape
    return ReferenceState(values.astype(np.float64), np.ones((height, width)), np.zeros((height, width, 2)))


def warp(state: ReferenceState, forward: np.ndarray, rng: np.random.Generator) -> ReferenceState:
    """One frame along `forward` (H, W, 2), in noise pixels; holes pull from where −forward points."""
    height, width, channels = state.values.shape
    y, x = np.mgrid[:height, :width]
    moved = state.rest + forward
    whole = np.floor(moved + 0.5)
    tx, ty = x + whole[..., 0].astype(int), y + whole[..., 1].astype(int)
    inside = (tx >= 0) & (ty >= 0) & (tx < width) & (ty < height)
    reached = np.zeros((height, width), bool)
    reached[ty[inside], tx[inside]] = True
    hx, hy = x[~reached], y[~reached]
    back = np.floor(0.5 - forward[~reached]).astype(int)
    sx, sy = hx + back[:, 0], hy + back[:, 1]
    known = (sx >= 0) & (sy >= 0) & (sx < width) & (sy < height)

    source = np.concatenate([(y * width + x)[inside], (sy * width + sx)[known]])
    target = np.concatenate([ty[inside] * width + tx[inside], hy[known] * width + hx[known]])
    rest = np.concatenate([(moved - whole)[inside], np.zeros((known.sum(), 2))])
    rows = np.concatenate([state.values.reshape(-1, channels), state.density.reshape(-1, 1)], axis=1)[source]
    _, group, size = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    k = size[group][:, None]
    z = rng.standard_normal((len(rows), channels))
    mean = np.stack([np.bincount(group, z[:, c]) for c in range(channels)], 1)[group] / k
    value = np.where(k > 1, rows[:, :channels] / np.sqrt(k) + z - mean, rows[:, :channels])
    omega = rows[:, -1] / k[:, 0]

    def total(weights: np.ndarray) -> np.ndarray:
        return np.bincount(target, weights, minlength=height * width)

    density = total(omega)
    filled = density > 0
    safe = np.where(filled, density, 1.0)
    norm = np.sqrt(np.where(filled, total(omega**2), 1.0))
    values = np.stack([total(omega * value[:, c]) / norm for c in range(channels)], 1)
    values[~filled] = rng.standard_normal((int((~filled).sum()), channels))
    residual = np.stack([total(omega * rest[:, axis]) / safe for axis in (0, 1)], 1)
    return ReferenceState(
        values.reshape(height, width, channels),
        np.where(filled, density, 1.0).reshape(height, width),
        residual.reshape(height, width, 2),
    )
