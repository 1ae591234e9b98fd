"""A blend of a remembered and a fresh painting that keeps the energy of the fresh one's texture.

Noise must stay white, so noise that is carried has to be renewed wherever the picture stretches or uncovers; a picture
need not. Averaging pictures alone would wash texture out, since independent strokes cancel. So both are split into a
low-pass, the tone, and the texture over it. Tones are averaged. Textures, m remembered and n fresh, are summed such
that the energy of n remains, where β is the wanted share of n and c = ⟨mn⟩ / √(⟨m²⟩ ⟨n²⟩) ≥ 0 their correlation:

    a² + 2aβc + β² = 1    for textures of one energy; where m has more than n, it is brought to that first.

Resampling has taken the share d of the energy of the finest strokes of m. That much is painted anew, by the share b of
the fresh ones:

    (1 - d) a² + 2 √(1 - d) abc + b² = 1.

d follows from the flow alone. Measured energies must not amplify what is remembered, nor say how much of it to renew:
strokes that resampling happens to spare would grow to make up for their neighbours that it dulls, frame after frame,
until they stand as dots one window apart.

The fresh painting never depends on what is remembered and a ≤ √(1 - β²), so nothing can grow, whatever was warped how
often; the tone is a weighted mean.
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
# Of what white noise loses by resampling, the part that strokes within a block lose.
_STROKES_LOSE = 0.5
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
        self._means, self._low = np.empty((2, 2, *blocks, 3), np.float32)  # of m and of n
        self._energies, self._smooth = np.empty((2, *blocks, 3), np.float32)  # m², n² and mn
        self._texture, self._tone, self._dulled = np.empty((3, *blocks), np.float32)
        self._maps = np.empty((*blocks, 5), np.float32)
        self._sums = np.empty(3 * width, np.float32)
        self._rows = np.empty((2, 3, 3 * width), np.float32)

    def __call__(
        self,
        remembered: np.ndarray,
        fresh: np.ndarray,
        texture: np.ndarray,
        tone: np.ndarray,
        dulled: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """Blend into `out`, and exactly into `remembered`.

        Args:
            remembered: (H, W, 3) float32, 0 to 255.
            fresh: (H, W, 3) u8.
            texture, tone: (h, w) float32, 0 to 1, of any size: how much of the remembered one's is to be kept.
            dulled: the same, share of white noise's energy that the last resampling of `remembered` took.
            out: (H, W, 3) u8.
        """
        height, width = self._blocks
        for small, large in ((texture, self._texture), (tone, self._tone), (dulled, self._dulled)):
            cv2.resize(small, (width, height), dst=large, interpolation=cv2.INTER_LINEAR)
        for picture, means, low in zip((remembered, fresh), self._means, self._low, strict=True):
            _block_means(picture, self._sums, means)
            cv2.GaussianBlur(means, (0, 0), _TONE / BLOCK, dst=low)
        _energies_of(self._means, self._low, self._energies)
        cv2.blur(self._energies, (_WINDOW // BLOCK, _WINDOW // BLOCK), dst=self._smooth)
        _shares(self._means[1], self._low, self._smooth, self._texture, self._tone, self._dulled, self._maps)
        _combine(self._maps, remembered, fresh, self._rows, out)


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _block_means(picture: np.ndarray, sums: np.ndarray, means: np.ndarray) -> None:
    """Of each block by channel, (h, w, 3)."""
    height, width = means.shape[:2]
    share = _F32(1 / (BLOCK * BLOCK))
    for y in range(height):
        sums[:] = _F32(0)
        for k in range(BLOCK):
            row = picture[y * BLOCK + k].reshape(-1)
            for i in range(row.size):
                sums[i] += _F32(row[i])
        for x in range(width):
            for c in range(3):
                mean = _F32(0)
                for k in range(BLOCK):
                    mean += sums[3 * (BLOCK * x + k) + c]
                means[y, x, c] = mean * share


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _energies_of(means: np.ndarray, low: np.ndarray, energies: np.ndarray) -> None:
    """m², n² and mn of the blocks' means over the tone."""
    for y in range(energies.shape[0]):
        for x in range(energies.shape[1]):
            mm = nn = mn = _F32(0)
            for c in range(3):
                u, v = means[0, y, x, c] - low[0, y, x, c], means[1, y, x, c] - low[1, y, x, c]
                mm += u * u
                nn += v * v
                mn += u * v
            energies[y, x, 0], energies[y, x, 1], energies[y, x, 2] = mm, nn, mn


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _rest(share: float, correlation: float) -> float:
    """x of x² + 2 x · share · correlation + share² = 1."""
    across = share * correlation
    return np.sqrt(max(across * across + _F32(1) - share * share, _F32(0))) - across


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _shares(
    means: np.ndarray,
    low: np.ndarray,
    energies: np.ndarray,
    texture: np.ndarray,
    tone: np.ndarray,
    dulled: np.ndarray,
    maps: np.ndarray,
) -> None:
    """`maps` (h, w, 5): a, b and D such that the result is a·m + b·n + D, for `means` (h, w, 3) of n."""
    one, slope = _F32(1), _F32(1 / (_OTHER_TONE - _NEAR_TONE))
    for y in range(maps.shape[0]):
        for x in range(maps.shape[1]):
            mm, nn = energies[y, x, 0] + _LEAST_ENERGY, energies[y, x, 1] + _LEAST_ENERGY
            correlation = min(max(energies[y, x, 2], _F32(0)) / np.sqrt(mm * nn), one)
            coarse = one - texture[y, x]
            of_one_energy = _rest(coarse, correlation)
            a = of_one_energy * np.sqrt(nn / max(mm, nn))
            fine = _rest(of_one_energy * np.sqrt(one - _F32(_STROKES_LOSE) * dulled[y, x]), correlation)
            far = _F32(0)
            for c in range(3):
                far += abs(low[0, y, x, c] - low[1, y, x, c])
            near = one - min(max((far * _F32(1 / 3) - _F32(_NEAR_TONE)) * slope, _F32(0)), one)
            kept = tone[y, x] * near
            maps[y, x, 0], maps[y, x, 1] = a, fine
            for c in range(3):
                tones = (kept - a) * low[0, y, x, c] + (one - kept - coarse) * low[1, y, x, c]
                maps[y, x, 2 + c] = tones + (coarse - fine) * means[y, x, c]


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
