"""What the engine needs of a diffusion model, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends import Backend, Network
from driftcam.engines.backends.base import Progress, Shapes
from driftcam.engines.backends.network import NetworkSpec
from driftcam.engines.diffusion.frame import Condition
from driftcam.engines.diffusion.schedules import Schedule

Conditioning = Callable[[Tensor, Tensor], Condition]
"""condition(photo (1, C, h, w), noises (fields, C, h, w)) -> one frame's row, without the batch axis."""


class Model(Protocol):
    """Networks compiled for pictures of one size.

    Attributes:
        size: (height, width) in pixels.
        latent_size: (height, width) in latent cells.
        channels: of the latent.
    """

    size: tuple[int, int]
    latent_size: tuple[int, int]
    channels: int

    def prepare(self, parameters: Parameters, rows: int) -> None:
        """Do ahead what `parameters` need, such as compiling for `rows` rows or encoding a prompt; from any thread."""

    def ready(self, parameters: Parameters, rows: int) -> bool:
        """Whether `prepare` has nothing left to do."""

    def conditioning(self, parameters: Parameters) -> Conditioning:
        """What the network is told besides the latent and the time. Quick where the model is ready."""

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Noise levels and solver."""

    def encode(self, frame: Tensor) -> Tensor:
        """(1, H, W, 3) u8 to (1, C, h, w); overwritten by the next call."""

    def decode(self, latent: Tensor) -> Tensor:
        """(1, C, h, w) to (1, H, W, 3) u8; overwritten by the next call."""

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's output for B rows: (B, C, h, w); overwritten by the next call."""

    def unconditional(self, condition: Condition) -> Condition:
        """The same rows with the negative condition."""


class ModelSource(Protocol):
    """Weights, of which models of any size can be made.

    Attributes:
        stride: pixels per latent cell.
        multiple: the sides of a model's picture are multiples of this many pixels.
    """

    stride: int
    multiple: int

    def check(self, parameters: Parameters) -> None:
        """Raises `ParameterError` for what this model cannot do."""

    def model(self, height: int, width: int, backend: Backend, progress: Progress | None = None) -> Model:
        """Compile for pictures of this size, multiples of `multiple`.

        `progress` is told of builds that take their time, from the thread that makes or prepares the model.
        """

    def style_vector(self, picture: np.ndarray) -> tuple[float, ...]:
        """The style of an (H, W, 3) u8 RGB picture. Raises `ParameterError` where the model takes none."""


class RowsNetwork:
    """One network compiled for several numbers of rows.

    A number of rows that is not compiled borrows the next larger one, if there is one: a stream that fills or
    empties must not wait for a compiler.
    """

    def __init__(
        self, spec: NetworkSpec, shapes: Callable[[int], Shapes], backend: Backend, progress: Progress | None = None
    ) -> None:
        self._spec, self._shapes, self._backend, self._progress = spec, shapes, backend, progress
        self._compiled: dict[int, Network] = {}

    def prepare(self, rows: int) -> None:
        """Compile for exactly `rows` rows; from any thread."""
        if rows not in self._compiled:
            self._compiled[rows] = self._backend.compile(self._spec, self._shapes(rows), progress=self._progress)

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
