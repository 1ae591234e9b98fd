"""All engines of a process: networks shared, frames of different streams denoised together where that pays."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.api.planes import Planes
from driftcam.engines.backends import open_backend
from driftcam.engines.backends.openvino_backend import cache_folder
from driftcam.engines.diffusion.frame import Frame
from driftcam.engines.diffusion.plan import may_share
from driftcam.engines.diffusion.sequential import denoise
from driftcam.engines.engine import Engine, Stylised
from driftcam.engines.live_size import LiveSize, Memory, measure
from driftcam.engines.models.base import Model
from driftcam.engines.models.registry import Models
from driftcam.engines.numba_kernels import compile_kernels

_log = logging.getLogger(__name__)

Job = tuple[Engine, np.ndarray, int, Planes]
"""An engine, a picture for it, its pts, and the planes beside it."""


class EngineHost:
    """Everything but `open` is called from one thread; `open` may run beside it.

    Args:
        options: of all engines.
        together: denoise frames of different streams in one call; None decides by the device. A graphics card has
            room for more rows; a CPU is busy with one, and whoever comes first would only wait for the others
            (`scripts/bench_sessions.py`).
    """

    def __init__(self, options: EngineOptions | None = None, *, together: bool | None = None) -> None:
        compile_kernels()  # now, so that a process that waits to take over has done it
        self._options, self._together = options or EngineOptions(), together
        self._models = Models()
        self._builder = ThreadPoolExecutor(1, "rows")
        self._asked: set[tuple[int, int]] = set()

    def open(self, parameters: Parameters) -> Engine:
        """A further stream. Raises `ParameterError`."""
        return Engine(parameters, **vars(self._options), models=self._models)

    def live_size(self, parameters: Parameters, *, alone: bool) -> LiveSize:
        """The largest size that runs live with such `parameters`, measured once on a machine. Raises `ParameterError`.

        `alone`: no stream runs meanwhile. Beside others it is measured in what they leave, on networks of its own, and
        not remembered; nor is it on a machine that is busy with something else.
        """
        options = dataclasses.replace(self._options, pipeline="sequential")  # a batch is measured at the size found
        backend = open_backend(options.backend, options.device, options.precision)
        memory = Memory(cache_folder(), f"{backend.describe()} | {options.model}")
        found = memory.load(parameters)
        if found is None:
            models = self._models if alone else Models()
            found = measure(lambda at: Engine(at, **vars(options), models=models), parameters)
            if alone and found.lasts:
                memory.save(parameters, found)
        return found

    def free_mb(self) -> int | None:
        """Memory that is left where the networks run, if it is not the machine's own."""
        if not torch.cuda.is_available():
            return None
        return torch.cuda.mem_get_info(self._options.device)[0] // 2**20

    def process(self, jobs: Sequence[Job]) -> Iterator[tuple[int, list[Stylised]]]:
        """At most one frame of every stream in; number of the job and results out, in the order they are finished.

        A result is valid until the next one is asked for.
        """
        if len(jobs) == 1 or not self._pays(jobs[0][0]):
            for number, (engine, frame, pts, planes) in enumerate(jobs):
                yield number, engine.process(frame, pts, planes)
            return
        waiting: list[tuple[int, Engine, Frame]] = []
        for number, (engine, frame, pts, planes) in enumerate(jobs):
            begun = engine.begin(frame, pts, planes)
            if isinstance(begun, Frame):
                waiting.append((number, engine, begun))
            else:
                yield number, begun
        for group in grouped(waiting):
            engines, frames = [engine for _, engine, _ in group], [frame for *_, frame in group]
            for part in self._parts(engines):
                model, plans = engines[part.start].model, [engine.plan for engine in engines[part]]
                done = denoise(frames[part], plans, model.predict, model.unconditional)
                for (number, engine, _), finished in zip(group[part], done, strict=True):
                    yield number, engine.finish([finished])

    def _pays(self, engine: Engine) -> bool:
        if engine.pipeline != "sequential":
            return False  # it batches the frames of its own stream
        return engine.on_graphics_card if self._together is None else self._together

    def _parts(self, engines: Sequence[Engine]) -> Iterator[slice]:
        """All at once when the networks for so many rows are compiled; until then one by one."""
        count, model, parameters = len(engines), engines[0].model, engines[0].parameters
        rows = engines[0].rows(parameters, count)
        if all(model.ready(parameters, number) for number in rows):
            yield slice(0, count)
            return
        if (id(model), count) not in self._asked:
            self._asked.add((id(model), count))
            self._builder.submit(_prepare, model, parameters, rows).add_done_callback(_tell)
        yield from (slice(number, number + 1) for number in range(count))


def _prepare(model: Model, parameters: Parameters, rows: Iterable[int]) -> None:
    for number in rows:
        model.prepare(parameters, number)


def _tell(prepared: Future[None]) -> None:
    if not prepared.cancelled() and (error := prepared.exception()) is not None:
        _log.warning("streams are not worked on together: %s", error)


def grouped(waiting: Sequence[tuple[int, Engine, Frame]]) -> list[list[tuple[int, Engine, Frame]]]:
    """Those that can share a call: one model, as many steps, one guidance."""

    def alike(a: tuple[int, Engine, Frame], b: tuple[int, Engine, Frame]) -> bool:
        return a[1].model is b[1].model and may_share(a[1].plan, b[1].plan)

    groups: list[list[tuple[int, Engine, Frame]]] = []
    for item in waiting:
        group = next((group for group in groups if alike(group[0], item)), None)
        if group is None:
            groups.append([item])
        else:
            group.append(item)
    return groups
