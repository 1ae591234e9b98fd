"""Which pipeline a stream runs where that is left open (`pipeline = auto`): measured on one of the stream's own frames.

A stream begins with the sequential pipeline. The networks for a batch are compiled beside it; then, between two
frames, a frame's n steps one after the other are compared with one call of n rows, which is what a frame costs in
the stream batch. That happens once for each number of steps, kind of guidance and size in a process.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.diffusion.frame import Frame
from driftcam.engines.diffusion.plan import Plan
from driftcam.engines.diffusion.sequential import denoise
from driftcam.engines.models.base import Model

GAIN = 1.2  # how much faster a batch must be, for its results come n−1 frames later
QUICK = 0.010  # seconds; who denoises a frame in less keeps up with any camera, and a batch would only delay it
ROUNDS = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """`sequential` or `stream`, and why."""

    pipeline: str
    reason: str


_ONE_STEP = Choice("sequential", "a frame takes one step")
_chosen: WeakKeyDictionary[Model, dict[tuple, Choice]] = WeakKeyDictionary()
"""For all streams of the process, by network and plan."""


class OpenChoice:
    """One stream's. `choice` is what it runs."""

    def __init__(self) -> None:
        self.choice = _ONE_STEP
        self._builder: ThreadPoolExecutor | None = None
        self._building: Future[None] | None = None

    def consider(self, frame: Frame, model: Model, plan: Plan, parameters: Parameters, rows: Iterable[int]) -> Choice:
        """What `frame` and those after it are to run; measures when the networks for `rows` rows, those of both
        pipelines, are compiled. In the thread that denoises.
        """
        steps, mode = len(plan.schedule), plan.guidance.active_mode
        known = _chosen.setdefault(model, {})
        if steps <= 1:
            self.choice = _ONE_STEP
        elif (steps, mode) in known:
            self.choice = known[steps, mode]
        elif self._compiled(model, parameters, rows):
            self.choice = known[steps, mode] = choose(steps, *measure(frame, plan, model))
            _log.info("pipeline %s: %s", self.choice.pipeline, self.choice.reason)
        return self.choice

    def _compiled(self, model: Model, parameters: Parameters, rows: Iterable[int]) -> bool:
        """Whether all networks are ready; else they are made beside the stream."""
        missing = [number for number in rows if not model.ready(parameters, number)]
        if missing and (self._building is None or self._building.done()):
            if self._building is not None:
                self._building.result()
            self._builder = self._builder or ThreadPoolExecutor(1, "pipeline")
            self._building = self._builder.submit(_prepare, model, parameters, missing)
        return not missing


def choose(steps: int, sequential: float, batch: float) -> Choice:
    """From the seconds that a frame takes one step after the other, and in a batch."""
    told = (
        f"{steps} steps of a frame take {sequential * 1e3:.1f} ms one after the other, {batch * 1e3:.1f} ms in a batch"
    )
    if sequential < QUICK:
        return Choice("sequential", f"{told}; less than {QUICK * 1e3:.0f} ms keeps up without a batch's delay")
    if sequential < GAIN * batch:
        return Choice("sequential", f"{told}; a batch must be {GAIN:g} times as fast to be worth its delay")
    return Choice("stream", told)


def measure(frame: Frame, plan: Plan, model: Model) -> tuple[float, float]:
    """Seconds for all steps of `frame` one after the other, and for one call with as many rows as a full stream batch.

    The networks' buffers are overwritten. The best of a few rounds, in turn: a busy machine is equally unfair to both.
    """
    steps, frame = len(plan.schedule), dataclasses.replace(frame, leave=lambda name, state: None)
    extra = {"full": steps, "initialize": 1}.get(plan.guidance.active_mode, 0)
    x, t = _repeated(frame.latent, steps + extra), torch.full((steps + extra,), plan.schedule.steps[0].timestep)
    condition = {name: _repeated(row, steps + extra) for name, row in frame.condition.items()}
    model.predict(x, t, condition)  # the first call of a network allocates
    sequential, batch = [], []
    for _ in range(ROUNDS):
        sequential.append(_seconds(lambda: denoise([frame], plan, model.predict, model.unconditional)))
        batch.append(_seconds(lambda: model.predict(x, t, condition)))
    return min(sequential), min(batch)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _repeated(row: Tensor, rows: int) -> Tensor:
    return row.expand(rows, *row.shape).contiguous()


def _prepare(model: Model, parameters: Parameters, rows: Iterable[int]) -> None:
    for number in rows:
        model.prepare(parameters, number)
