"""A diffusion model as the engine uses it, whichever it is: networks of one size, and the conditions they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends import Backend, Network
from driftcam.engines.backends.network import BATCH, NetworkSpec, Shape
from driftcam.engines.backends.progress import Progress
from driftcam.engines.conditions.base import Bound, Condition, Seen
from driftcam.engines.diffusion.frame import Rows
from driftcam.engines.diffusion.schedules import Schedule


def denoiser_inputs(latent: Shape, conditions: Sequence[Condition]) -> dict[str, Shape]:
    """Inputs of a network that is told these conditions, in the order of its arguments."""
    inputs: dict[str, Shape] = {"x": latent, "t": (BATCH,)}
    for condition in conditions:
        if twice := inputs.keys() & condition.inputs.keys():
            raise ValueError(f"{type(condition).__name__} adds the input {min(twice)!r}, which is there already")
        inputs |= condition.inputs
    return inputs


@dataclass(frozen=True)
class Parts:
    """What a model is made of.

    Attributes:
        encoder, decoder: pixels to a latent and back.
        denoiser: its inputs are `denoiser_inputs` of `conditions`.
        schedule: noise levels and solver for a number of steps and a strength.
        latent_scale: what an encoded latent is multiplied with, so that it has about unit variance.
        autoencoder_precision: of `backends.base.PRECISIONS`, where a backend's own choice would not do.
    """

    encoder: NetworkSpec
    denoiser: NetworkSpec
    decoder: NetworkSpec
    conditions: tuple[Condition, ...]
    schedule: Callable[[int, float], Schedule]
    latent_scale: float = 1.0
    autoencoder_precision: str = "auto"


class ModelSource(Protocol):
    """Weights, of which models of any size can be made.

    Attributes:
        stride: pixels per latent cell.
        multiple: the sides of a model's picture are multiples of this many pixels.
        parts: see there.
    """

    stride: int
    multiple: int
    parts: Parts

    def check(self, parameters: Parameters) -> None:
        """Raises `ParameterError` for what this model cannot do."""

    def style_vector(self, picture: np.ndarray) -> tuple[float, ...]:
        """The style of an (H, W, 3) u8 RGB picture. Raises `ParameterError` where the model takes none."""


class Model:
    """Networks compiled for pictures of one size.

    Args:
        parts: what it is made of.
        height, width: of the pictures in pixels, multiples of `ModelSource.multiple`.
        progress: is told of builds that take their time, from the thread that makes or prepares the model.

    Attributes:
        size: (height, width) in pixels.
        latent_size: (height, width) in latent cells.
        channels: of the latent.
        conditions: what the network is told.
        schedule: see `Parts`.
    """

    def __init__(
        self, parts: Parts, height: int, width: int, backend: Backend, progress: Progress | None = None
    ) -> None:
        self.size = (height, width)
        self.conditions, self.schedule = parts.conditions, parts.schedule
        _, self.channels, *latent = parts.denoiser.sized(1, height, width)["x"]
        self.latent_size = (latent[0], latent[1])
        precision = parts.autoencoder_precision
        self._encoder = backend.compile(parts.encoder, parts.encoder.sized(1, height, width), precision, progress)
        self._decoder = backend.compile(parts.decoder, parts.decoder.sized(1, height, width), precision, progress)
        self._denoiser = RowsNetwork(parts.denoiser, self.size, backend, progress)
        self._inputs = tuple(parts.denoiser.inputs)[2:]
        self._scale = parts.latent_scale

    def prepare(self, parameters: Parameters, rows: int) -> None:
        """Do ahead what `parameters` need, such as compiling for `rows` rows or encoding a prompt; from any thread."""
        self._denoiser.prepare(rows)
        for condition in self.conditions:
            condition.prepare(parameters, self.size)

    def ready(self, parameters: Parameters, rows: int) -> bool:
        """Whether `prepare` has nothing left to do."""
        return self._denoiser.ready(rows) and all(each.ready(parameters, self.size) for each in self.conditions)

    def bind(self, parameters: Parameters) -> Bound:
        """What the network is told of a frame besides the latent and the time. Quick where the model is ready."""
        bound = [condition.bind(parameters, self.size) for condition in self.conditions]

        def tell(seen: Seen) -> Rows:
            return {name: value for each in bound for name, value in each(seen).items()}

        return tell

    def encode(self, frame: Tensor) -> Tensor:
        """(1, H, W, 3) u8 to (1, C, h, w); overwritten by the next call."""
        latent = self._encoder(frame)
        return latent if self._scale == 1 else latent * self._scale

    def decode(self, latent: Tensor) -> Tensor:
        """(1, C, h, w) to (1, H, W, 3) u8; overwritten by the next call."""
        return self._decoder(latent if self._scale == 1 else latent / self._scale)

    def predict(self, x: Tensor, t: Tensor, rows: Rows) -> Tensor:
        """The network's output for B rows: (B, C, h, w); overwritten by the next call."""
        return self._denoiser(x, t, *(rows[name] for name in self._inputs))

    def unconditional(self, rows: Rows) -> Rows:
        """The same rows with the negative condition."""
        return rows | {name: value for each in self.conditions for name, value in each.negative(rows).items()}

    def leaves(self, latent: Tensor) -> Rows:
        """What a finished frame's latent (C, h, w) leaves for the carried states of the conditions."""
        return {name: value for each in self.conditions for name, value in each.leaves(latent).items()}


class RowsNetwork:
    """One network compiled for several numbers of rows.

    A number of rows that is not compiled borrows the next larger one, if there is one: a stream that fills or
    empties must not wait for a compiler.
    """

    def __init__(
        self, spec: NetworkSpec, size: tuple[int, int], backend: Backend, progress: Progress | None = None
    ) -> None:
        self._spec, self._size, self._backend, self._progress = spec, size, backend, progress
        self._compiled: dict[int, Network] = {}

    def prepare(self, rows: int) -> None:
        """Compile for exactly `rows` rows; from any thread."""
        if rows not in self._compiled:
            shapes = self._spec.sized(rows, *self._size)
            self._compiled[rows] = self._backend.compile(self._spec, shapes, progress=self._progress)

    def ready(self, rows: int) -> bool:
        return rows in self._compiled

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Inputs of as many rows as the first has; the result is overwritten by the next call."""
        rows = len(inputs[0])
        size = min((size for size in tuple(self._compiled) if size >= rows), default=rows)
        self.prepare(size)
        if size > rows:
            inputs = tuple(F.pad(value, (0, 0) * (value.dim() - 1) + (0, size - rows)) for value in inputs)
        return self._compiled[size](*inputs)[:rows]
