"""What a network is called, what goes in and which axes are free.

Sizes count in units of 64 px, so that one engine serves every multiple of 64 from 256 to 1024 without a rebuild.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from driftcam.engines.api.errors import ParameterError

UNIT = 64  # px


@dataclass(frozen=True)
class Axis:
    """A free axis: `per_unit` entries for each unit of the variable `name` (see `Ranges`)."""

    name: str
    per_unit: int = 1


BATCH = Axis("batch")
Shape = tuple["int | Axis", ...]


@dataclass(frozen=True)
class Ranges:
    """Least, typical and most of every variable: rows of a batch, and height and width in units of 64 px."""

    batch: tuple[int, int, int] = (1, 1, 16)
    height: tuple[int, int, int] = (4, 8, 16)
    width: tuple[int, int, int] = (4, 8, 16)

    def __post_init__(self) -> None:
        for name in ("batch", "height", "width"):
            low, typical, high = getattr(self, name)
            if not 1 <= low <= typical <= high:
                raise ParameterError(name, (low, typical, high), "give least ≤ typical ≤ most, from 1")

    def hold(self, sizes: Mapping[str, int]) -> bool:
        """Whether every one of `sizes`, by variable, lies within."""
        return all(low <= sizes.get(name, low) <= high for name, (low, _, high) in vars(self).items())

    @property
    def reach(self) -> tuple[int, int]:
        """Which ranges are smaller: the most that fits in, then how many sizes there are."""
        return (
            math.prod(high for _, _, high in vars(self).values()),
            math.prod(high - low + 1 for low, _, high in vars(self).values()),
        )


@dataclass(frozen=True)
class NetworkSpec:
    """A network with positional inputs and one output.

    Attributes:
        name: `encoder`, `velocity`, `unet` or `decoder`.
        module: in evaluation mode.
        inputs: shape of every input, in the order of the module's arguments.
        output: name of the output.
        frame: `in` where a backend's callable takes its first input, a picture, as frames (B, H, W, 3) u8, `out` where
            it gives its output so, empty where both are tensors. The change of layout runs where the network does.
        kept: whether backends keep what they make of it in the computer's cache beyond what takes minutes to build.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Shape]
    output: str
    frame: str = ""
    kept: bool = False

    def shapes(self, **sizes: int) -> dict[str, tuple[int, ...]]:
        """The inputs' shapes for given `batch`, `height` and `width` in units."""
        return {
            name: tuple(sizes[axis.name] * axis.per_unit if isinstance(axis, Axis) else axis for axis in shape)
            for name, shape in self.inputs.items()
        }

    def sized(self, batch: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """The inputs' shapes for so many rows of pictures of `height` × `width` pixels, also between whole units."""
        sizes = {"batch": batch * UNIT, "height": height, "width": width}
        return {
            name: tuple(sizes[axis.name] * axis.per_unit // UNIT if isinstance(axis, Axis) else axis for axis in shape)
            for name, shape in self.inputs.items()
        }

    def sizes(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The inverse of `shapes`; a size that is no whole number of units is the next one."""
        return {
            axis.name: math.ceil(length / axis.per_unit)
            for name, shape in self.inputs.items()
            for axis, length in zip(shape, shapes[name], strict=True)
            if isinstance(axis, Axis)
        }

    def examples(self, dtype: torch.dtype, seed: int = 0, **sizes: int) -> tuple[Tensor, ...]:
        """Random inputs in [0, 1), which suits times and levels too."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.rand(shape, generator=generator).to(dtype) for shape in self.shapes(**sizes).values())


def image_shape(channels: int, stride: int = 1) -> Shape:
    """(batch, channels, height/stride, width/stride)."""
    return (BATCH, channels, Axis("height", UNIT // stride), Axis("width", UNIT // stride))
