"""What parameters can follow beside time: how loud the sound is, and how much moves in the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftcam.daemon.sound import RATE, Chunk

BLOCK = 1024  # samples that are looked at together, 21 ms
RELEASE = 0.5  # seconds in which a level falls from full to nothing, at the slowest
# Hz from and to, and dB of full scale that are nothing and full: what is high is fainter in music and speech.
BANDS = {"loudness": (20, 20_000), "low": (20, 250), "mid": (250, 4_000), "high": (4_000, 20_000)}
SILENT_DB = {"loudness": -48.0, "low": -48.0, "mid": -48.0, "high": -60.0}
SPAN_DB = 36.0
GRID, FULL_MOTION = 32, 24.0  # pixels a side that are compared; mean change of grey levels that counts as full


def levels(samples: np.ndarray) -> dict[str, float]:
    """0 to 1 for each of `BANDS`, that of the loudest block; `samples`: (channels, n) float at `RATE`. Pure."""
    mono = samples.mean(0)
    if len(mono) < BLOCK:
        return dict.fromkeys(BANDS, 0.0)
    blocks = mono[-(len(mono) // BLOCK * BLOCK) :].reshape(-1, BLOCK)
    window = np.hanning(BLOCK)
    power = np.abs(np.fft.rfft(blocks * window, axis=1)) ** 2 * (2 / (BLOCK * np.sum(window**2)))
    hertz = np.fft.rfftfreq(BLOCK, 1 / RATE)
    found = {}
    for name, (low, high) in BANDS.items():
        loudest = float(power[:, (hertz >= low) & (hertz < high)].sum(1).max())  # mean square of the band
        decibels = 10 * np.log10(max(loudest, 1e-12))
        found[name] = float(np.clip((decibels - SILENT_DB[name]) / SPAN_DB, 0, 1))
    return found


class Hearing:
    """Levels that rise at once and fall slowly."""

    def __init__(self) -> None:
        self._levels = dict.fromkeys(BANDS, 0.0)
        self._rest = np.zeros((1, 0), np.float32)

    def after(self, seconds: float, chunks: Sequence[Chunk]) -> dict[str, float]:
        """With the sound of the last `seconds`."""
        heard = np.concatenate([self._rest, *(chunk.samples.mean(0, keepdims=True) for chunk in chunks)], axis=1)
        self._rest = heard[:, heard.shape[1] // BLOCK * BLOCK :]
        for name, level in levels(heard[:, -RATE:]).items():
            self._levels[name] = max(level, self._levels[name] - seconds / RELEASE, 0.0)
        return dict(self._levels)


class Watching:
    """How much moves from one look to the next."""

    def __init__(self) -> None:
        self._seen: np.ndarray | None = None

    def look(self, image: np.ndarray) -> float:
        """0 to 1; `image`: (H, W, channels) uint8, of which some pixels are compared."""
        step = max(1, min(image.shape[:2]) // GRID)
        seen = image[::step, ::step, 1].astype(np.int16)
        before, self._seen = self._seen, seen
        if before is None or before.shape != seen.shape:
            return 0.0
        return min(1.0, float(np.abs(seen - before).mean()) / FULL_MOTION)
