"""Holds a stream to the look of anchor frames: their palette and the strength of their strokes.

StreamingT2V (arXiv 2403.14773) and StoryDiffusion (arXiv 2405.01434) let a network attend to frames that are kept for
the whole stream. What that is to hold, palette and strokes, is held here by its statistics, which a network that was
trained to paint each scene in its own colours would not do: the colours go through the optimal transport between two
normal distributions (Pitié and Kokaram 2007, "The linear Monge-Kantorovitch colour mapping"), the octaves of luma
through a gain. Among several anchors each picture attends to those whose palettes are near to its own.

Each picture is held for itself: nothing that is held comes back, so nothing can build up.
"""

from __future__ import annotations

import numpy as np

from driftcam.engines.api.anchors import BLUE, GREEN, RED, Octaves, palette, unpacked
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.kernels import njit
from driftcam.engines.motion.camera import FASTMATH

_F32, _U32 = np.float32, np.uint32
# What a flat or blurred picture may be spread or sharpened by: more shows the noise of its codec.
_LEAST_SPREAD, _MOST_SPREAD = 0.5, 2.0
_LEAST_GAIN, _MOST_GAIN = 0.6, 1.6
_NEAR = 0.1  # distance of two palettes (Wasserstein, of colours 0 to 1) at which one is attended to e times less
_TINY = 1e-6


class AnchorFrames:
    """Those of one stream. Call from its thread."""

    def __init__(self) -> None:
        self._looks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._share = 0.0
        self._octaves = Octaves(1, 1)

    def use(self, parameters: Parameters) -> None:
        """From the next picture on."""
        # Without strength nothing is painted, and the picture is to be the photograph.
        self._share = parameters.anchor_strength if parameters.strength else 0.0
        self._looks = [unpacked(anchor) for anchor in parameters.anchors]

    @property
    def active(self) -> bool:
        return bool(self._looks and self._share)

    def hold(self, picture: np.ndarray) -> None:
        """Give the (H, W, 3) u8 RGB picture the anchors' look, in place. Nothing happens without anchors."""
        if not self.active:
            return
        if self._octaves.luma.shape != picture.shape[:2]:
            self._octaves = Octaves(*picture.shape[:2])
        mean, covariance = palette(picture)
        wanted, spread, octaves = _attended(self._looks, mean, covariance)
        matrix = (1 - self._share) * np.eye(3) + self._share * transport(covariance, spread)
        offset = (1 - self._share) * mean + self._share * wanted - matrix @ mean
        colours = np.column_stack([matrix, 255 * offset]).astype(np.float32)
        _to_luma(picture, (np.array([RED, GREEN, BLUE]) @ colours).astype(np.float32) / _F32(255), self._octaves.luma)
        gains = np.sqrt((octaves + _TINY) / (self._octaves.measure() + _TINY)).clip(_LEAST_GAIN, _MOST_GAIN)
        _repaint(picture, colours, self._octaves.difference(gains**self._share))


def transport(covariance: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The symmetric T with T·covariance·T = wanted; its stretch is bounded. All (3, 3)."""
    root = _root(covariance + _TINY * np.eye(3))
    inverse = np.linalg.inv(root)
    lengths, axes = np.linalg.eigh(inverse @ _root(root @ wanted @ root) @ inverse)
    return (axes * lengths.clip(_LEAST_SPREAD, _MOST_SPREAD)) @ axes.T


def _attended(
    looks: list[tuple[np.ndarray, np.ndarray, np.ndarray]], mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The look that a picture with this palette is held to: a softmax over the anchors."""
    distances = np.array([_distance(mean, covariance, *look[:2]) for look in looks])
    weights = np.exp((distances.min() - distances) / _NEAR)
    weights /= weights.sum()
    means, covariances, octaves = (
        sum(weight * part for weight, part in zip(weights, parts, strict=True)) for parts in zip(*looks, strict=True)
    )
    return np.asarray(means), np.asarray(covariances), np.asarray(octaves)


def _distance(mean: np.ndarray, covariance: np.ndarray, other: np.ndarray, others: np.ndarray) -> float:
    """Wasserstein's between two normal distributions of colours."""
    root = _root(covariance)
    shapes = np.trace(covariance + others - 2 * _root(root @ others @ root))
    return float(np.sqrt(max(0.0, np.sum((mean - other) ** 2) + shapes)))


def _root(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix without negative eigenvalues."""
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(values.clip(0))) @ axes.T


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _to_luma(picture: np.ndarray, row: np.ndarray, out: np.ndarray) -> None:
    pixels = picture.reshape(-1)  # with unsigned places: a third of the time
    red, green, blue, offset, at = row[0], row[1], row[2], row[3], _U32(0)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = red * pixels[at] + green * pixels[at + _U32(1)] + blue * pixels[at + _U32(2)] + offset
            at += _U32(3)


@njit(nogil=True, error_model="numpy", fastmath=FASTMATH)
def _repaint(picture: np.ndarray, colours: np.ndarray, lighter: np.ndarray) -> None:
    """`colours` (3, 4) of each pixel, and `lighter` (H, W), 0 to 1, to all three."""
    pixels, half, full, at = picture.reshape(-1), _F32(0.5), _F32(255), _U32(0)
    a, b, c, d = colours[0, 0], colours[0, 1], colours[0, 2], colours[0, 3] + half
    e, f, g, h = colours[1, 0], colours[1, 1], colours[1, 2], colours[1, 3] + half
    i, j, k, m = colours[2, 0], colours[2, 1], colours[2, 2], colours[2, 3] + half
    for y in range(lighter.shape[0]):
        for x in range(lighter.shape[1]):
            light = full * lighter[y, x]
            red, green, blue = _F32(pixels[at]), _F32(pixels[at + _U32(1)]), _F32(pixels[at + _U32(2)])
            pixels[at] = np.uint8(min(max(a * red + b * green + c * blue + d + light, half), full))
            pixels[at + _U32(1)] = np.uint8(min(max(e * red + f * green + g * blue + h + light, half), full))
            pixels[at + _U32(2)] = np.uint8(min(max(i * red + j * green + k * blue + m + light, half), full))
            at += _U32(3)
