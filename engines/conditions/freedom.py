"""The photograph, hidden from the network as far as the freedom says."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends.network import BATCH, Shape
from driftcam.engines.conditions.base import Bound, Condition, Seen
from driftcam.engines.diffusion.frame import Rows

Level = TypeVar("Level", float, Tensor)


class Freedom(Condition):
    """Inputs `image_latent`, that of the photograph with noise over it, and `level`, how much.

    Args:
        latent: shape of a latent.
    """

    parameters = ("freedom",)

    def __init__(self, latent: Shape) -> None:
        self.inputs = {"image_latent": latent, "level": (BATCH,)}

    def bind(self, parameters: Parameters, size: tuple[int, int]) -> Bound:
        hidden = float(hiding_level(parameters.freedom))
        level = torch.tensor(hidden)

        def tell(seen: Seen) -> Rows:
            return {"image_latent": degrade(seen.latent, hiding_noise(seen.noises[:1]), hidden)[0], "level": level}

        return tell


def hiding_level(freedom: Level) -> Level:
    """The network's level of a freedom in [0, 1]; training draws freedom evenly, so it mostly sees the picture."""
    return freedom**1.5


def degrade(latent: Tensor, noise: Tensor, level: float | Tensor) -> Tensor:
    """The photograph's latent as the network sees it: variance-preserving noise of angle π/2·level.

    `level`, one number or (B,), in [0, 1]: 0 shows the photograph exactly, 1 hides it.
    """
    angle = level * (math.pi / 2)
    if isinstance(angle, float):
        return torch.add(latent * math.cos(angle), noise, alpha=math.sin(angle))
    angle = angle.view(-1, 1, 1, 1)
    return latent * angle.cos() + noise * angle.sin()


def hiding_noise(noise: Tensor) -> Tensor:
    """What hides the photograph where a stream carries one field of noise, (B, C, h, w), that the latent starts from.

    The same numbers on other channels, every second with the other sign: half as much noise to carry. The network was
    trained with noise of its own for this, and paints as well with both; the model card compares them.
    """
    mixed = noise.roll(noise.shape[1] // 2, 1)
    mixed[:, 1::2].neg_()
    return mixed
