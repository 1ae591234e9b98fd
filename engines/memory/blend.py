"""A blend of a remembered and a fresh painting that keeps the energy of the fresh one's texture.

Noise must stay white, so noise that is carried has to be renewed wherever the picture stretches or uncovers; a picture
need not. Averaging pictures alone would wash texture out, since independent strokes cancel. So both are split into a
low-pass, the tone, and the texture over it. Tones m̄ and n̄ are averaged; textures m̃ and ñ are summed such that what
comes out has locally the energy of ñ, whatever was warped how often:

    a² ⟨m̃²⟩ + 2ab ⟨m̃ñ⟩ + b² ⟨ñ²⟩ = ⟨ñ²⟩    for the wanted share b of the fresh texture, ⟨m̃ñ⟩ ≥ 0, 0 ≤ a ≤ `MOST_GAIN`.

Every resampling dulls the finest strokes, which energy alone does not show. Where the remembered picture's gradients
have less energy than the fresh one's, it is sharpened a little first.

The fresh painting never depends on what is remembered, so nothing can grow: the energy is bounded by that of the fresh
painting at every place and time, and the tone is a weighted mean.
"""

from __future__ import annotations

import cv2
import numpy as np

from driftcam.engines.kernels import njit
from driftcam.engines.motion.camera import FASTMATH

# Side in pixels of the blocks on which tone, energies and shares are computed; all of them are smooth.
BLOCK = 4
# Standard deviation in pixels of the low-pass between tone and texture, and side of the window of the energies.
_TONE, _WINDOW = 6.0, 28
# Makes up for what a resampled texture has lost, and no more: beyond, it would dig up rounding errors.
MOST_GAIN = 1.25
# Weight of the Laplacian that is added for each share by which the gradients are too weak, and the most of it.
_SHARPEN, _MOST_SHARPENING = 0.6, 0.12
# Difference of the tones in grey levels from which a remembered one gives way, and at which it is gone.
_NEAR_TONE, _OTHER_TONE = 15.0, 50.0
_F32, _LEAST_ENERGY = np.float32, np.float32(1e-3)


class EnergyBlend:
    """The blend for pictures of one size, in buffers that it keeps.

    Args:
        height, width: of the pictures, multiples of `BLOCK`.
    """

    def __init__(self, height: int, width: int) -> None:
        self._blocks = blocks = height // BLOCK, width // BLOCK
        self._tones, self._low = np.empty((2, *blocks, 6), np.float32)
        self._energies, self._smooth = np.empty((2, *blocks, 3), np.float32)
        self._gradients, self._smooth_gradients = np.empty((2, *blocks, 2), np.float32)
        self._texture, self._tone = np.empty((2, *blocks), np.float32)
        self._maps = np.empty((*blocks, 5), np.float32)
        self._sums = np.empty((5, 3 * width), np.float32)
        self._rows = np.empty((2, 3, 3 * width), np.float32)

    def __call__(
        self, remembered: np.ndarray, fresh: np.ndarray, texture: np.ndarray, tone: np.ndarray, out: np.ndarray
    ) -> None:
        """Blend into `out`, and exactly into `remembered`.

        Args:
            remembered: (H, W, 3) float32, 0 to 255.
            fresh: (H, W, 3) u8.
            texture, tone: (h, w) float32, 0 to 1, of any size: how much of the remembered one's is to be kept.
            out: (H, W, 3) u8.
        """
        height, width = self._blocks
        cv2.resize(texture, (width, height), dst=self._texture, interpolation=cv2.INTER_LINEAR)
        cv2.resize(tone, (width, height), dst=self._tone, interpolation=cv2.INTER_LINEAR)
        _gradient_energies(remembered, fresh, self._gradients)
        cv2.blur(self._gradients, (_WINDOW // BLOCK, _WINDOW // BLOCK), dst=self._smooth_gradients)
        _sharpen(remembered, self._smooth_gradients, self._rows[0])
        _block_means(remembered, fresh, self._sums, self._tones, self._energies)
        for part in (slice(0, 3), slice(3, 6)):
            low = cv2.GaussianBlur(np.ascontiguousarray(self._tones[..., part]), (0, 0), _TONE / BLOCK)
            self._low[..., part] = low
        _texture_energies(self._tones, self._low, self._energies)
        cv2.blur(self._energies, (_WINDOW // BLOCK, _WINDOW // BLOCK), dst=self._smooth)
        _shares(self._low, self._smooth, self._texture, self._tone, self._maps)
        _combine(self._maps, remembered, fresh, self._rows, out)


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _gradient_energies(m: np.ndarray, n: np.ndarray, out: np.ndarray) -> None:
    """Of the rows and columns in the middle of each block: sums of the squared differences of m and of n, (h, w, 2)."""
    height, width = out.shape[:2]
    size = 3 * m.shape[1]
    sm, sn = np.empty((2, size), np.float32)
    sm[size - 3 :] = sn[size - 3 :] = _F32(0)
    for y in range(height):
        a, b = m[BLOCK * y + 1].reshape(-1), n[BLOCK * y + 1].reshape(-1)
        below_a, below_b = m[BLOCK * y + 2].reshape(-1), n[BLOCK * y + 2].reshape(-1)
        for i in range(size - 3):
            u, v = a[i + 3] - a[i], below_a[i] - a[i]
            sm[i] = u * u + v * v
            u, v = _F32(b[i + 3]) - _F32(b[i]), _F32(below_b[i]) - _F32(b[i])
            sn[i] = u * u + v * v
        for x in range(width):
            mm = nn = _F32(0)
            for i in range(3 * BLOCK):
                mm += sm[3 * BLOCK * x + i]
                nn += sn[3 * BLOCK * x + i]
            out[y, x, 0], out[y, x, 1] = mm, nn


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _sharpen(m: np.ndarray, gradients: np.ndarray, rows: np.ndarray) -> None:
    """Subtract of m, in place, some of its Laplacian where its gradients are weaker than those of the fresh picture."""
    last = m.shape[0] - 1
    width = 3 * m.shape[1]
    above, here, weights = rows[0], rows[1], rows[2]
    above[:] = m[0].reshape(-1)
    for y in range(m.shape[0]):
        row, below = m[y].reshape(-1), m[min(y + 1, last)].reshape(-1)
        if y % BLOCK == 0:
            most = _F32(0)
            for x in range(gradients.shape[1]):
                mm, nn = gradients[y // BLOCK, x, 0], gradients[y // BLOCK, x, 1]
                weak = np.sqrt(nn / (mm + _LEAST_ENERGY)) - _F32(1)
                weight = min(max(_F32(_SHARPEN) * weak, _F32(0)), _F32(_MOST_SHARPENING))
                most = max(most, weight)
                for i in range(3 * BLOCK):
                    weights[3 * BLOCK * x + i] = weight
        for i in range(width):
            here[i] = row[i]
        if most > 0:
            for i in range(3, width - 3):
                laplacian = above[i] + below[i] + here[i - 3] + here[i + 3] - _F32(4) * here[i]
                row[i] = here[i] - weights[i] * laplacian
        for i in range(width):
            above[i] = here[i]


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _block_means(m: np.ndarray, n: np.ndarray, sums: np.ndarray, tones: np.ndarray, energies: np.ndarray) -> None:
    """Of each block: means of m and n by channel, and of m², n² and m·n summed over the channels."""
    height, width = energies.shape[:2]
    sm, sn, smm, snn, smn = sums[0], sums[1], sums[2], sums[3], sums[4]
    share = _F32(1 / (BLOCK * BLOCK))
    for y in range(height):
        sums[:] = _F32(0)
        for k in range(BLOCK):
            a, b = m[y * BLOCK + k].reshape(-1), n[y * BLOCK + k].reshape(-1)
            for i in range(a.size):
                u, v = a[i], _F32(b[i])
                sm[i] += u
                sn[i] += v
                smm[i] += u * u
                snn[i] += v * v
                smn[i] += u * v
        for x in range(width):
            mm = nn = mn = _F32(0)
            for c in range(3):
                u = v = _F32(0)
                for k in range(BLOCK):
                    i = 3 * (BLOCK * x + k) + c
                    u += sm[i]
                    v += sn[i]
                    mm += smm[i]
                    nn += snn[i]
                    mn += smn[i]
                tones[y, x, c], tones[y, x, 3 + c] = u * share, v * share
            energies[y, x, 0], energies[y, x, 1], energies[y, x, 2] = mm * share, nn * share, mn * share


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _texture_energies(tones: np.ndarray, low: np.ndarray, energies: np.ndarray) -> None:
    """⟨m²⟩ and the like to ⟨m̃²⟩, ⟨ñ²⟩ and ⟨m̃ñ⟩: within a block the tone hardly varies."""
    for y in range(low.shape[0]):
        for x in range(low.shape[1]):
            mm, nn, mn = energies[y, x, 0], energies[y, x, 1], energies[y, x, 2]
            for c in range(3):
                u, v, lm, ln = tones[y, x, c], tones[y, x, 3 + c], low[y, x, c], low[y, x, 3 + c]
                mm += lm * (lm - u - u)
                nn += ln * (ln - v - v)
                mn += lm * ln - lm * v - ln * u
            energies[y, x, 0], energies[y, x, 1], energies[y, x, 2] = max(mm, _F32(0)), max(nn, _F32(0)), mn


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _shares(low: np.ndarray, energies: np.ndarray, texture: np.ndarray, tone: np.ndarray, maps: np.ndarray) -> None:
    """`maps` (h, w, 5): a, b and D such that the result is a·m + b·n + D."""
    one, slope = _F32(1), _F32(1 / (_OTHER_TONE - _NEAR_TONE))
    for y in range(low.shape[0]):
        for x in range(low.shape[1]):
            mm, nn, mn = energies[y, x, 0] + _LEAST_ENERGY, energies[y, x, 1], energies[y, x, 2]
            b = one - texture[y, x]
            mn = max(mn, _F32(0))  # what contradicts the fresh texture is not strengthened to make up for it
            root = np.sqrt(max(b * b * mn * mn + mm * (one - b * b) * nn, _F32(0)))
            a = min(max((root - b * mn) / mm, _F32(0)), _F32(MOST_GAIN))
            far = _F32(0)
            for c in range(3):
                far += abs(low[y, x, c] - low[y, x, 3 + c])
            near = one - min(max((far * _F32(1 / 3) - _F32(_NEAR_TONE)) * slope, _F32(0)), one)
            kept = tone[y, x] * near
            maps[y, x, 0], maps[y, x, 1] = a, b
            for c in range(3):
                maps[y, x, 2 + c] = (kept - a) * low[y, x, c] + (one - kept - b) * low[y, x, 3 + c]


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _across(maps: np.ndarray, out: np.ndarray) -> None:
    """A row of blocks (w, 5) interpolated to pixels: a, b and D of each value, (3, 3·W)."""
    width = maps.shape[0]
    a, b, d = out[0], out[1], out[2]
    for k in range(BLOCK):
        place = (_F32(k) + _F32(0.5)) / _F32(BLOCK) - _F32(0.5)
        first = -1 if place < 0 else 0
        right = place - _F32(first)
        for x in range(width):
            left, next_ = maps[max(x + first, 0)], maps[min(x + first + 1, width - 1)]
            i = 3 * (BLOCK * x + k)
            share_a, share_b = left[0] + (next_[0] - left[0]) * right, left[1] + (next_[1] - left[1]) * right
            for c in range(3):
                a[i + c], b[i + c] = share_a, share_b
                d[i + c] = left[2 + c] + (next_[2 + c] - left[2 + c]) * right


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _combine(maps: np.ndarray, m: np.ndarray, n: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """m ← a·m + b·n + D, the maps interpolated between the middles of the blocks; rounded in `out`.

    `rows`: (2, 3, 3·W) scratch, the maps of the block above and of the one below a row of pixels.
    """
    height = maps.shape[0]
    above, below = 0, 1
    _across(maps[0], rows[0])
    _across(maps[0], rows[1])
    for y in range(m.shape[0]):
        place = (_F32(y) + _F32(0.5)) / _F32(BLOCK) - _F32(0.5)
        top = int(np.floor(place))
        down = place - _F32(top)
        if y % BLOCK == BLOCK // 2:
            above, below = below, above
            _across(maps[min(top + 1, height - 1)], rows[below])
        a, b, d = rows[above, 0], rows[above, 1], rows[above, 2]
        next_a, next_b, next_d = rows[below, 0], rows[below, 1], rows[below, 2]
        old, new, rounded = m[y].reshape(-1), n[y].reshape(-1), out[y].reshape(-1)
        for i in range(old.size):
            share_a, share_b = a[i] + (next_a[i] - a[i]) * down, b[i] + (next_b[i] - b[i]) * down
            value = share_a * old[i] + share_b * _F32(new[i]) + d[i] + (next_d[i] - d[i]) * down
            value = min(max(value, _F32(0)), _F32(255))
            old[i] = value
            rounded[i] = np.uint8(value + _F32(0.5))
