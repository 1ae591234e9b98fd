"""The stream batch of StreamDiffusion (arXiv 2312.12491, section 3.1): frames one step apart share a call.

Frame k takes its first step while frame k−1 takes its second, and so on: one network call of n rows
serves n frames, and the output lags n−1 pushes. `sequential.denoise` runs the same frames one after the other;
it gives the same latents, lags nothing and suits a CPU, where a batch saves little.

Everything a frame needs travels with it (noise, conditions, schedule, guidance, what it saw of its stream's carried
state), so a change of parameters concerns the frames that enter after it; those in flight finish as they began, and
leave in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from driftcam.engines.diffusion.frame import (
    Finished,
    Frame,
    Predict,
    Unconditional,
    check_frames,
    check_unconditional,
)
from driftcam.engines.diffusion.guidance import DIFFERENCE
from driftcam.engines.diffusion.plan import Numbers, Plan
from driftcam.engines.diffusion.schedules import add_noise
from driftcam.engines.diffusion.step import asks_negative, denoise_step, initial_reference, negative_difference


class StreamBatch:
    """The pipeline of one stream's frames in flight.

    At the start the batch grows by a frame a push until n are in flight, so that no output comes from an
    empty slot; `flush` lets it shrink again. A frame keeps its row of the batch's buffers from its first step
    to its last, so what it brings is copied once and nothing is shifted.

    Frames that cannot share a batch with those in flight (another number of steps, size, guidance mode or
    network) start one of their own, and each push advances the old one beside it until it is empty.

    Not thread-safe: one thread pushes, flushes and reconfigures.
    """

    def __init__(self, predict: Predict, plan: Plan, unconditional: Unconditional | None = None) -> None:
        """Arguments as for `reconfigure`."""
        self._tickets = 0
        self._released = 0
        self._done: dict[int, Finished] = {}
        self._batches: list[_Batch] = []
        check_unconditional(plan.guidance.active_mode, unconditional)
        self._predict, self._plan, self._unconditional = predict, plan, unconditional

    def __len__(self) -> int:
        """Frames pushed and not yet handed back."""
        return self._tickets - self._released

    @property
    def plan(self) -> Plan:
        """What the next frame will be denoised with."""
        return self._plan

    def reconfigure(
        self,
        *,
        plan: Plan | None = None,
        predict: Predict | None = None,
        unconditional: Unconditional | None = None,
    ) -> None:
        """Change what applies to the frames of the next push; what is None stays.

        Args:
            plan: schedule and guidance.
            predict: the network; frames in flight finish with the one they began with.
            unconditional: the negative condition, needed for the guidance modes `full` and `initialize`.

        Raises:
            ParameterError: the new setting cannot work; the old one stays.
        """
        plan = self._plan if plan is None else plan
        unconditional = self._unconditional if unconditional is None else unconditional
        check_unconditional(plan.guidance.active_mode, unconditional)
        self._plan, self._unconditional = plan, unconditional
        self._predict = self._predict if predict is None else predict

    @torch.no_grad()
    def push(self, frame: Frame) -> list[Finished]:
        """Take in a frame, advance all frames in flight by one step, return those that are done, in order.

        Raises:
            ParameterError: the frame does not fit; nothing has changed.
            Exception: whatever the network raises; the new frame is then forgotten, those in flight stay where
                they were, and the stream can go on.
        """
        check_frames([frame], self._plan)
        target = self._batch_for(frame) if self._plan.schedule.steps else None
        self._step([batch for batch in self._batches if batch is not target])
        if target is not None:
            self._done.update(target.enter(frame, self._tickets, self._plan))
        else:
            self._done[self._tickets] = Finished(frame.latent.clone(), frame.tag)
        self._tickets += 1
        # The newest batch is kept when it runs empty, so that its buffers serve again.
        self._batches = [batch for batch in self._batches if len(batch) or batch is self._batches[-1]]
        return self._release()

    @torch.no_grad()
    def advance(self) -> list[Finished]:
        """As `push`, without a new frame."""
        self._step(self._batches)
        return self._release()

    @torch.no_grad()
    def flush(self) -> list[Finished]:
        """Finish every frame in flight and return them in order. If the network raises, flush again: none is lost."""
        while any(self._batches):
            self._step(self._batches)
        return self._release()

    def _step(self, batches: Sequence[_Batch]) -> None:
        for batch in batches:
            self._done.update(batch.step())

    def _release(self) -> list[Finished]:
        ready = []
        while (result := self._done.pop(self._released, None)) is not None:
            ready.append(result)
            self._released += 1
        return ready

    def _batch_for(self, frame: Frame) -> _Batch:
        """The newest batch if `frame` fits into it, else a new one behind it."""
        layout = _Layout.of(frame, self._plan, self._predict, self._unconditional)
        if not self._batches or self._batches[-1].layout != layout:
            self._batches.append(_Batch(layout, frame))
        return self._batches[-1]


@dataclass(frozen=True)
class _Layout:
    """What frames must have in common to share a batch."""

    steps: int
    mode: str
    noise_fields: int
    remembers: bool
    tensors: tuple[tuple[str, torch.Size, torch.dtype, torch.device], ...]
    predict: Predict
    unconditional: Unconditional | None

    @staticmethod
    def of(frame: Frame, plan: Plan, predict: Predict, unconditional: Unconditional | None) -> _Layout:
        mode = plan.guidance.active_mode
        tensors = [("", frame.latent), *sorted(frame.condition.items(), key=lambda item: item[0])]
        return _Layout(
            steps=len(plan.schedule),
            mode=mode,
            noise_fields=plan.schedule.noise_fields,
            remembers=plan.schedule.remembers,
            tensors=tuple((name, tensor.shape, tensor.dtype, tensor.device) for name, tensor in tensors),
            predict=predict,
            unconditional=unconditional if mode in ("full", "initialize") else None,
        )


@dataclass
class _InFlight:
    """A frame in row `row` of the batch, at step `step`."""

    row: int
    ticket: int
    tag: object
    step: int = 0


class _Batch:
    """Buffers of n rows for the frames of one layout, and who sits in which row.

    Network rows: first the n frames, then the negative rows, one for each frame (`full`) or one for the frame
    at its first step (`initialize`). While every row is taken the buffers go to the network as they are;
    otherwise (start, flush, an advance without a frame) the rows in use are gathered.
    """

    def __init__(self, layout: _Layout, example: Frame) -> None:
        self.layout = layout
        n, latent = layout.steps, example.latent

        def latents(rows: int) -> Tensor:
            return latent.new_empty((rows, *latent.shape))

        total = n + {"full": n, "initialize": 1}.get(layout.mode, 0)
        self._x = latents(total)
        self._t = torch.empty(total, device=latent.device)
        self._condition = {key: v.new_empty((total, *v.shape)) for key, v in example.condition.items()}
        self._reference = latents(n) if layout.mode in ("self", "initialize") else None
        self._previous = latents(n) if layout.remembers else None
        self._noises = latents(n * n) if layout.noise_fields > 1 else None
        # Each row's numbers for each of its steps.
        self._table = torch.empty((n * n, len(Numbers._fields)), device=latent.device)
        self._plan: Plan | None = None
        self._plan_table = self._table
        self._in_flight: list[_InFlight] = []
        self._next_row = 0
        self._whole_indices: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._in_flight)

    def step(self) -> dict[int, Finished]:
        """Advance every frame by a step; returns those that are done, by ticket."""
        return self._step(self._in_flight, None)

    def enter(self, frame: Frame, ticket: int, plan: Plan) -> dict[int, Finished]:
        """Take in `frame`, then as `step`. If the network raises, nothing has happened."""
        new = _InFlight(self._next_row, ticket, frame.tag)
        self._write(new.row, frame, plan)
        finished = self._step([*self._in_flight, new], frame)
        self._next_row = (self._next_row + 1) % self.layout.steps
        return finished

    def _write(self, row: int, frame: Frame, plan: Plan) -> None:
        """Copy what the frame brings into a row, which is free: its last frame entered n entries ago."""
        if plan != self._plan:
            self._plan, self._plan_table = plan, plan.table.to(self._table.device)
        n, first = self.layout.steps, plan.schedule.steps[0]
        self._x[row] = add_noise(frame.latent, frame.noises[0], first.alpha, first.sigma)
        for key, value in frame.condition.items():
            self._condition[key][row] = value
        if self._reference is not None:
            self._reference[row] = frame.latent
        if self._previous is not None:
            self._previous[row] = 0  # it meets a factor of 0, which what is left of another frame may not bear
        if self._noises is not None:
            self._noises[row * n : (row + 1) * n] = frame.noises[:n]
        self._table[row * n : (row + 1) * n] = self._plan_table
        if asks_negative(self.layout.mode, first=True, difference=frame.carried.get(DIFFERENCE)):
            assert self.layout.unconditional is not None
            negative = self.layout.unconditional({key: rows[row : row + 1] for key, rows in self._condition.items()})
            for key, rows in self._condition.items():
                rows[self._negative_row(row)] = negative[key][0]

    def _negative_row(self, row: int) -> int:
        return self.layout.steps + (row if self.layout.mode == "full" else 0)

    def _step(self, in_flight: list[_InFlight], entering: Frame | None) -> dict[int, Finished]:
        """A step of all frames; the last of them is `entering`, if that is a frame."""
        if not in_flight:
            return {}
        self._denoise(in_flight, entering)
        # The step counts as taken from here on, where nothing can fail any more.
        for frame in in_flight:
            frame.step += 1
        self._in_flight = [frame for frame in in_flight if frame.step < self.layout.steps]
        done = (frame for frame in in_flight if frame.step == self.layout.steps)
        return {frame.ticket: Finished(self._x[frame.row].clone(), frame.tag) for frame in done}

    def _denoise(self, in_flight: list[_InFlight], entering: Frame | None) -> None:
        mode = self.layout.mode
        entered = in_flight[-1].row
        taken = sorted((frame.row, frame.step) for frame in in_flight)
        rows, steps = [row for row, _ in taken], [step for _, step in taken]
        whole = len(rows) == self.layout.steps
        numbers_at, noises_at = self._indices(rows, steps, whole)
        at = slice(len(rows)) if whole else torch.tensor(rows, device=self._x.device)

        table = self._table.index_select(0, numbers_at)
        x = self._x[at]
        difference = None if entering is None else entering.carried.get(DIFFERENCE)
        asks = asks_negative(mode, first=entering is not None, difference=difference)
        asked = [] if not asks else rows if mode == "full" else [entered]
        output = self._call(rows, table[:, 0], asked, whole)
        output, negative = output[: len(rows)], output[len(rows) :]

        if self._reference is not None and entering is not None and mode == "initialize":
            k = rows.index(entered)
            first = Numbers(*table[k].unbind())
            if difference is None:
                difference = negative_difference(output[k], negative[0], first.from_output)
                entering.leave(DIFFERENCE, difference)
            self._reference[entered] = initial_reference(x[k], output[k], difference, first.from_x, first.from_output)

        numbers = Numbers(*table[:, :, None, None, None].unbind(1))
        reference = None if self._reference is None else self._reference[at]
        previous = None if self._previous is None else self._previous[at]
        noise = None if self._noises is None else self._noises.index_select(0, noises_at)
        opposed = negative if mode == "full" else None
        x, x0 = denoise_step(numbers, x, output, opposed, reference, previous, noise)
        self._x[at] = x.to(self._x.dtype)
        if self._previous is not None:
            self._previous[at] = x0.to(self._x.dtype)

    def _call(self, rows: list[int], t: Tensor, asked: list[int], whole: bool) -> Tensor:
        """The network's output for `rows`, then for the negative rows of the frames in `asked`."""
        n, count, total = self.layout.steps, len(rows), len(rows) + len(asked)
        self._t[:count] = t
        if asked:
            first = rows.index(asked[0])
            self._t[count:total] = t[first : first + len(asked)]
        if whole:
            if asked:
                self._x[n:total] = self._x[asked[0] : asked[-1] + 1]
            condition = {key: value[:total] for key, value in self._condition.items()}
            return self.layout.predict(self._x[:total], self._t[:total], condition)
        x_at = torch.tensor([*rows, *asked], device=self._x.device)
        condition_at = torch.tensor([*rows, *map(self._negative_row, asked)], device=self._x.device)
        condition = {key: value.index_select(0, condition_at) for key, value in self._condition.items()}
        return self.layout.predict(self._x.index_select(0, x_at), self._t[:total], condition)

    def _indices(self, rows: list[int], steps: list[int], whole: bool) -> tuple[Tensor, Tensor]:
        """Where the rows' numbers and the noises of their next step lie; kept for the n patterns of a whole batch."""
        key, n = tuple(steps), self.layout.steps
        if whole and key in self._whole_indices:
            return self._whole_indices[key]
        numbers_at = [row * n + step for row, step in zip(rows, steps, strict=True)]
        noises_at = [row * n + min(step + 1, n - 1) for row, step in zip(rows, steps, strict=True)]
        device = self._x.device
        indices = torch.tensor(numbers_at, device=device), torch.tensor(noises_at, device=device)
        if whole:
            self._whole_indices[key] = indices
        return indices
