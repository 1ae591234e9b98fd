"""The size of the model's picture for a source of any shape. Pure."""

from __future__ import annotations

import math

from driftcam.engines.api.parameters import TABLE

GRAIN = 32  # pixels per cell of the model's coarsest level
DEFAULT_AREA: int = TABLE["width"].default * TABLE["height"].default


def model_size(width: int, height: int, area: int = DEFAULT_AREA) -> tuple[int, int]:
    """The model's (width, height) for a source: its shape, about `area` pixels, whole cells of the model."""
    scale = math.sqrt(area / (width * height))
    low, high = 64, 1024
    sides = (round(side * scale / GRAIN) * GRAIN for side in (width, height))
    fitted_width, fitted_height = (min(max(side, low), high) for side in sides)
    return fitted_width, fitted_height


def alike(area: int, other: int) -> bool:
    """Whether both may be one area in whole cells of different shapes."""
    return abs(area / other - 1) < 0.15
