"""The model that a stream's parameters need: networks of a size and for numbers of rows, built beside the stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends import Backend
from driftcam.engines.models.base import Model, ModelSource
from driftcam.engines.models.registry import Models

Rows = Callable[[Parameters], set[int]]
"""Numbers of rows of the calls that frames with such parameters make."""


class ModelBuilder:
    """Builds one model at a time.

    Args:
        source, backend: of every model.
        models: compiled networks that are shared.
        rows: see there.

    Attributes:
        building: phase and share of the build that runs, None where none does.
    """

    def __init__(self, source: ModelSource, backend: Backend, models: Models, rows: Rows) -> None:
        self._source, self._backend, self._models, self._rows = source, backend, models, rows
        self._thread: ThreadPoolExecutor | None = None
        self._build: Future[Model] | None = None
        self.building: dict | None = None

    def build(self, parameters: Parameters, current: Model | None = None) -> Model:
        """A model for `parameters`: `current` with one more compiled network if its size is right, else a new one."""
        size = self._padded_size(parameters)
        if current is not None and current.size == size:
            model = current
        else:
            model = self._models.get(self._source, size, self._backend, self._progress)
        for rows in self._rows(parameters):
            model.prepare(parameters, rows)
        self.building = None
        return model

    def beside(self, current: Model, wanted: Parameters) -> Model | None:
        """The model for `wanted`, built beside the running networks; None until it is there. Ask on every frame."""
        if self._fits(current, wanted):
            return current
        if self._build is None:
            self._thread = self._thread or ThreadPoolExecutor(1, "build")
            self._build = self._thread.submit(self.build, wanted, current)
        if not self._build.done():
            return None
        model, self._build = self._build.result(), None
        # The wish may have changed meanwhile; the next call builds for the newer one.
        return model if self._fits(model, wanted) else None

    def _fits(self, model: Model, parameters: Parameters) -> bool:
        return model.size == self._padded_size(parameters) and all(
            model.ready(parameters, rows) for rows in self._rows(parameters)
        )

    def _padded_size(self, parameters: Parameters) -> tuple[int, int]:
        """(height, width) of the networks: the next that model and backend have."""
        unit = math.lcm(self._source.multiple, self._backend.multiple)
        height, width = (
            max(self._backend.least, math.ceil(side / unit) * unit) for side in (parameters.height, parameters.width)
        )
        return height, width

    def _progress(self, phase: str, share: float) -> None:
        """Called from the thread that builds."""
        self.building = {"phase": phase, "share": round(share, 3)}
