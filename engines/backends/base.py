"""What every way to run a network offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import NetworkSpec
from driftcam.engines.backends.progress import Progress

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every input, by name; pictures as (B, 3, H, W) even where they are given as frames."""


@dataclass(frozen=True)
class Cost:
    """What a compiled network costs.

    Attributes:
        device: what it runs on.
        precision: `fp32`, `fp16`, `bf16` or `fp8`.
        parameters: how many weights.
        memory: bytes of weights and buffers.
        build_s: seconds from the description to the callable.
    """

    device: str
    precision: str
    parameters: int
    memory: int
    build_s: float


class Network(Protocol):
    """A compiled network of fixed shapes.

    Takes tensors of the CPU or of the device it runs on, in the order of the description's inputs; the result lies
    where the first input does and may be a view of a buffer that the next call overwrites.
    """

    cost: Cost

    def __call__(self, *inputs: Tensor) -> Tensor: ...


class Backend(Protocol):
    """A way to run networks.

    Attributes:
        name: one of `engines.api.engine_options.BACKENDS`.
        multiple: sides of pictures are multiples of this many pixels.
        least: the shortest side.
        precisions: those that it has here, the one of `auto` first.
    """

    name: str
    multiple: int
    least: int
    precisions: Sequence[str]

    def compile(
        self, spec: NetworkSpec, shapes: Shapes, precision: str = "auto", progress: Progress | None = None
    ) -> Network:
        """Make `spec` ready for exactly these shapes.

        Raises:
            ParameterError: a precision or a shape that the backend does not have, or too little memory.
        """

    def describe(self) -> str:
        """One line: what runs the networks, in which precision, on what."""


def choose_precision(backend: Backend, wanted: str) -> str:
    """Raises `ParameterError` for a precision that the backend does not have here."""
    return preferred(backend.name, backend.precisions, wanted)[0]


def preferred(backend: str, precisions: Sequence[str], wanted: str) -> tuple[str, ...]:
    """`precisions` with `wanted` first, as they are for `auto`. Raises `ParameterError` where it is not among them."""
    if wanted == "auto":
        return tuple(precisions)
    if wanted not in precisions:
        raise ParameterError("precision", wanted, f"the {backend} backend has here: {', '.join(precisions)}")
    return (wanted, *(other for other in precisions if other != wanted))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def from_frame(frame: Tensor) -> Tensor:
    """(B, H, W, 3) u8 to (B, 3, H, W) in [−1, 1]."""
    return frame.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frame(pixels: Tensor) -> Tensor:
    """(B, 3, H, W), nominally in [−1, 1], to (B, H, W, 3) u8."""
    scaled = pixels.float() * 127.5 + 127.5
    return scaled.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class _FrameIn(nn.Module):
    """A network that takes frames."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, frame: Tensor) -> Tensor:
        return self.module(from_frame(frame).to(self.dtype))


class _FrameOut(nn.Module):
    """A network that gives frames."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, latent: Tensor) -> Tensor:
        return to_frame(self.module(latent))


def with_frames(spec: NetworkSpec, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network with the change between frames and tensors at its ends."""
    if spec.frame == "in":
        return _FrameIn(spec.module, dtype)
    return _FrameOut(spec.module) if spec.frame == "out" else spec.module


def examples(spec: NetworkSpec, shapes: Shapes) -> list[Tensor]:
    """Zeros as the callable takes them."""
    tensors = [torch.zeros(shapes[name]) for name in spec.inputs]
    if spec.frame == "in":
        tensors[0] = torch.zeros_like(tensors[0], dtype=torch.uint8).permute(0, 2, 3, 1).contiguous()
    return tensors
