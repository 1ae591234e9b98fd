"""The stochastic similarity filter of StreamDiffusion (arXiv 2312.12491): frames that show nothing new are skipped.

It only decides: it never sleeps, and frames that are already in the pipeline go on.
"""

from __future__ import annotations

import cv2
import numpy as np

from driftcam.engines.api.errors import ParameterError

# Sensor noise in grey levels; without it two noisy pictures of a blank wall would look unrelated.
_NOISE_FLOOR = 2.0


def similarity(reference: np.ndarray, luma: np.ndarray) -> float:
    """Cosine between two (h, w) uint8 pictures measured from the reference's mean, −1 to 1.

    The plain cosine of two bright pictures is near 1 whatever they show, and a mean squared error has no scale of its
    own. Taking the reference's mean from both pictures leaves contrast to compare and still sees a change of
    brightness.
    """
    a, b = reference.astype(np.float32), luma.astype(np.float32)
    centre = cv2.mean(a)[0]
    a, b = a.ravel() - np.float32(centre), b.ravel() - np.float32(centre)
    floor = a.size * _NOISE_FLOOR**2
    return float((a @ b + floor) / np.sqrt((a @ a + floor) * (b @ b + floor)))


def skip_probability(cosine: float, threshold: float) -> float:
    """max(0, 1 − (1−cos)/(1−η)); a threshold η of 0 switches the gate off, 1 skips identical frames only."""
    if threshold <= 0:
        return 0.0
    if threshold >= 1:
        return float(cosine >= 1)
    return min(1.0, max(0.0, 1 - (1 - cosine) / (1 - threshold)))


class SimilarityGate:
    """Decides for each frame whether it is worth processing; one gate for each stream."""

    def __init__(self, seed: int = 0) -> None:
        self._draws = np.random.default_rng(seed)
        self._reference: np.ndarray | None = None
        self._row = 0

    def skips(self, luma: np.ndarray, *, threshold: float, max_skip: int) -> bool:
        """Whether a frame shows nothing new, by its (h, w) uint8 luma and that of the last processed frame.

        At most `max_skip` frames in a row are skipped.
        """
        if luma.dtype != np.uint8 or luma.ndim != 2 or luma.size == 0:
            raise ParameterError("luma", f"{luma.dtype} {luma.shape}", "give a grey picture (h, w) of uint8")
        known = self._reference is not None and self._reference.shape == luma.shape
        cosine = similarity(self._reference, luma) if known and threshold > 0 else 0.0  # type: ignore[arg-type]
        probability = skip_probability(cosine, threshold)
        similar = probability > 0 and probability >= self._draws.random()
        skip = similar and self._row < max_skip
        if skip:
            self._row += 1
        else:
            self._row = 0
            if known:
                np.copyto(self._reference, luma)  # type: ignore[arg-type]
            else:
                self._reference = luma.copy()
        return skip

    def reset(self) -> None:
        """Forget the reference: the next frame is processed."""
        self._reference = None
        self._row = 0
