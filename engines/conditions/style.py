"""The style: a blend of named ones, and of a picture's."""

from __future__ import annotations

import torch
from torch import Tensor

from driftcam.engines.api.parameters import STYLE_VECTOR_LENGTH, Parameters
from driftcam.engines.api.planes import STYLE_PICTURE
from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.engines.backends.network import BATCH
from driftcam.engines.conditions.base import Bound, Condition
from driftcam.engines.diffusion.frame import Rows

STYLE_DIM = len(STYLE_NAMES) + STYLE_VECTOR_LENGTH


class Style(Condition):
    """Input `style`: weights of the named styles, then the 100 numbers of a picture. Without a style it is zeros."""

    inputs = {"style": (BATCH, STYLE_DIM)}  # noqa: RUF012 (read only)
    parameters = ("styles", "style_vector", "style_image_weight")
    planes = (STYLE_PICTURE,)  # of which the engine makes the style_vector

    def bind(self, parameters: Parameters, size: tuple[int, int]) -> Bound:
        rows: Rows = {"style": style_input(parameters)[0]}
        return lambda seen: rows

    def negative(self, rows: Rows) -> Rows:
        return {"style": torch.zeros_like(rows["style"])}


def style_input(parameters: Parameters) -> Tensor:
    """(1, STYLE_DIM)."""
    share = parameters.style_image_weight if parameters.style_vector is not None else 0.0
    style = torch.zeros(1, STYLE_DIM)
    for name, weight in parameters.styles:
        style[0, STYLE_NAMES.index(name)] = weight * (1 - share)
    if parameters.style_vector is not None:
        style[0, -STYLE_VECTOR_LENGTH:] = torch.tensor(parameters.style_vector) * share
    return style
