"""Anchors: what is kept of a picture whose look somebody approved, its palette and the strength of its strokes.

An anchor is `ANCHOR_LENGTH` numbers, so that it goes wherever parameters go: into presets, over the bus, through a
restart. In their order: the mean of red, green and blue (0 to 1), their covariance (the lower triangle by rows), and
the mean square of luma (0 to 1) in each of `OCTAVES` octaves, the first that of details of 1 to 2 pixels.
"""

from __future__ import annotations

import numpy as np

OCTAVES = 4
ANCHOR_LENGTH = 3 + 6 + OCTAVES
MAX_ANCHORS = 4
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # of luma (ITU-R BT.601)
_PALETTE_SIDE = 96  # a palette is that of areas: a picture is averaged down to about so many on its longer side
_LOWER = np.tril_indices(3)


def anchor_of(picture: np.ndarray) -> tuple[float, ...]:
    """The anchor of an (H, W, 3) u8 RGB picture."""
    mean, covariance = palette(picture)
    octaves = Octaves(*picture.shape[:2])
    np.matmul(picture, np.array([RED, GREEN, BLUE], np.float32) / 255, out=octaves.luma)
    numbers = [*mean, *covariance[_LOWER], *octaves.measure()]
    return tuple(float(f"{number:.5g}") for number in numbers)


def unpacked(anchor: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (3,), covariance (3, 3) and octaves (`OCTAVES`,) of an anchor."""
    covariance = np.zeros((3, 3))
    covariance[_LOWER] = anchor[3:9]
    covariance.T[_LOWER] = anchor[3:9]
    return np.array(anchor[:3]), covariance, np.array(anchor[9:]).clip(0)


def swatches(anchor: tuple[float, ...]) -> list[str]:
    """Three colours that stand for the palette, as `#rrggbb`: along its longest axis, from dark to light."""
    mean, covariance, _ = unpacked(anchor)
    lengths, axes = np.linalg.eigh(covariance)
    axis = axes[:, -1] * np.sqrt(max(0.0, lengths[-1])) * (1.0 if axes[:, -1].sum() >= 0 else -1.0)
    colours = [np.rint((mean + share * axis).clip(0, 1) * 255).astype(int) for share in (-1.5, 0.0, 1.5)]
    return ["#{:02x}{:02x}{:02x}".format(*colour.tolist()) for colour in colours]


def palette(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and covariance (3, 3) of the colours of an (H, W, 3) u8 picture, 0 to 1."""
    import cv2

    height, width = picture.shape[:2]
    ratio = max(1, min(max(height, width) // _PALETTE_SIDE, height, width))
    if ratio > 1:  # whole squares, for which OpenCV is several times as fast
        height, width = height // ratio, width // ratio
        picture = cv2.resize(picture[: height * ratio, : width * ratio], (width, height), interpolation=cv2.INTER_AREA)
    colours = picture.reshape(-1, 3).T.astype(np.float32, order="C")  # by channel: sums are quick
    mean = colours.mean(1)
    colours -= mean[:, None]
    return mean / 255.0, (colours @ colours.T) / (255.0**2 * colours.shape[1])


class Octaves:
    """Luma of pictures of one size, split into octaves (a Laplacian pyramid; Burt and Adelson 1983).

    Attributes:
        luma: (height, width) float32, to be written by the caller.
    """

    def __init__(self, height: int, width: int) -> None:
        sizes = [(height, width)]
        for _ in range(OCTAVES):
            height, width = (height + 1) // 2, (width + 1) // 2
            sizes.append((height, width))
        self._levels = [np.empty(size, np.float32) for size in sizes]
        self._octaves, self._above = [[np.empty(size, np.float32) for size in sizes[:-1]] for _ in range(2)]
        self.luma = self._levels[0]

    def measure(self) -> np.ndarray:
        """Split the luma; the mean square of each octave."""
        for level, below, octave in zip(self._levels[:-1], self._levels[1:], self._octaves, strict=True):
            _resize(level, below, smaller=True)
            _resize(below, octave)
            np.subtract(level, octave, out=octave)
        return np.array([float(np.vdot(octave, octave)) / octave.size for octave in self._octaves])

    def difference(self, gains: np.ndarray) -> np.ndarray:
        """What multiplying the octaves with `gains` adds to the luma that was measured last. Spoils its split."""
        added: np.ndarray | None = None
        for octave, above, gain in zip(self._octaves[::-1], self._above[::-1], gains[::-1], strict=True):
            octave *= gain - 1
            if added is not None:
                octave += _resize(added, above)
            added = octave
        assert added is not None
        return added


def _resize(image: np.ndarray, out: np.ndarray, *, smaller: bool = False) -> np.ndarray:
    import cv2

    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, out.shape[::-1], dst=out, interpolation=how)
