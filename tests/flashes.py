"""Flashes as WCAG 2.2 defines them, success criterion 2.3.1, of a picture's or a field's luminance over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHANGE, DARK = 0.1, 0.8  # of relative luminance; the darker of both is below


def relative_luminance(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) u8 sRGB to (H, W), 0 to 1."""
    linear = image.astype(np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def most_flashes(seconds: Sequence[float], luminance: Sequence[float]) -> int:
    """The most pairs of opposing changes that end in any second of them."""
    ends = opposing_changes(seconds, luminance)
    return max((sum(begin <= other < begin + 1 for other in ends) // 2 for begin in ends), default=0)


def opposing_changes(seconds: Sequence[float], luminance: Sequence[float]) -> list[float]:
    """When a rise by `CHANGE` after a fall was complete, or a fall after a rise."""
    low = high = luminance[0]
    direction = 0
    ends: list[float] = []
    for now, value in zip(seconds, luminance, strict=True):
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= CHANGE and low < DARK:
            ends.append(now)
            direction, low, high = 1, value, value
        elif direction >= 0 and high - value >= CHANGE and value < DARK:
            ends.append(now)
            direction, low, high = -1, value, value
    return ends
