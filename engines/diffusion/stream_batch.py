"""The stream batch of StreamDiffusion (arXiv 2312.12491, section 3.1): frames one step apart share a call.

Frame k takes its first step while frame k−1 takes its second, and so on: one network call of n rows
serves n frames, and the output lags n−1 pushes. `denoise.denoise` runs the same frames one after the other;
it gives the same latents, lags nothing and suits a CPU, where a batch saves little. (There a frame may bring its
`difference`; here, where one more row is cheap, it is asked for on every frame.)

Everything a frame needs travels with it (noise, conditions, schedule, guidance), so a change of parameters
concerns the frames that enter after it; those in flight finish as they began, and leave in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.diffusion.denoise import (
    Finished,
    Frame,
    Plan,
    Predict,
    Unconditional,
    check_frames,
    check_unconditional,
)
from driftcam.engines.diffusion.guidance import guide, guide_residual
from driftcam.engines.diffusion.schedules import add_noise, advance, estimate


class StreamBatch:
    """The pipeline of frames in flight.

    At the start the batch grows by one group of frames a push until n groups are in flight, so that no
    output comes from an empty slot; `flush` lets it shrink again. A frame keeps its rows of the batch's
    buffers from its first step to its last, so what it brings is copied once and nothing is shifted.

    Frames that cannot share a batch with those in flight (another number of steps, size, guidance mode or
    network) start one of their own, and each push advances the old one beside it until it is empty.

    Not thread-safe: one thread pushes, flushes and reconfigures.
    """

    def __init__(
        self,
        predict: Predict,
        plan: Plan,
        unconditional: Unconditional | None = None,
        frames_per_batch: int = 1,
    ) -> None:
        """Arguments as for `reconfigure`."""
        self._tickets = 0
        self._released = 0
        self._done: dict[int, Finished] = {}
        self._batches: list[_Batch] = []
        check_unconditional(plan.guidance.active_mode, unconditional)
        _check_width(frames_per_batch)
        self._predict, self._plan = predict, plan
        self._unconditional, self._width = unconditional, frames_per_batch

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
        frames_per_batch: int | None = None,
    ) -> None:
        """Change what applies to the frames of the next push; what is None stays.

        Args:
            plan: schedule and guidance.
            predict: the network; frames in flight finish with the one they began with.
            unconditional: the negative condition, needed for the guidance modes `full` and `initialize`.
            frames_per_batch: f, the most frames of one push.

        Raises:
            ParameterError: the new setting cannot work; the old one stays.
        """
        plan = self._plan if plan is None else plan
        unconditional = self._unconditional if unconditional is None else unconditional
        width = self._width if frames_per_batch is None else frames_per_batch
        check_unconditional(plan.guidance.active_mode, unconditional)
        _check_width(width)
        self._plan, self._unconditional, self._width = plan, unconditional, width
        self._predict = self._predict if predict is None else predict

    @torch.no_grad()
    def push(self, frames: Sequence[Frame]) -> list[Finished]:
        """Take in up to f frames, advance all frames in flight by one step, return those that are done, in order.

        An empty push advances what is in flight.

        Raises:
            ParameterError: a frame does not fit; nothing has changed.
            Exception: whatever the network raises; the new frames are then forgotten, those in flight stay where
                they were, and the stream can go on.
        """
        if len(frames) > self._width:
            raise ParameterError("frames", len(frames), f"push at most {self._width} at once (frames_per_batch)")
        check_frames(frames, self._plan)
        target = self._batch_for(frames[0]) if frames and self._plan.schedule.steps else None
        self._step([batch for batch in self._batches if batch is not target])
        tickets = range(self._tickets, self._tickets + len(frames))
        if target is not None:
            self._done.update(target.enter(frames, tickets, self._plan))
        else:
            self._done.update((k, Finished(f.latent.clone(), f.tag)) for k, f in zip(tickets, frames, strict=True))
        self._tickets += len(frames)
        # The newest batch is kept when it runs empty, so that its buffers serve again.
        self._batches = [batch for batch in self._batches if len(batch) or batch is self._batches[-1]]
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
        layout = _Layout.of(frame, self._plan, self._predict, self._unconditional, self._width)
        if not self._batches or self._batches[-1].layout != layout:
            self._batches.append(_Batch(layout, frame))
        return self._batches[-1]


@dataclass(frozen=True)
class _Layout:
    """What frames must have in common to share a batch."""

    steps: int
    width: int
    mode: str
    noise_fields: int
    tensors: tuple[tuple[str, torch.Size, torch.dtype, torch.device], ...]
    predict: Predict
    unconditional: Unconditional | None

    @staticmethod
    def of(frame: Frame, plan: Plan, predict: Predict, unconditional: Unconditional | None, width: int) -> _Layout:
        mode = plan.guidance.active_mode
        tensors = [("", frame.latent), *sorted(frame.condition.items(), key=lambda item: item[0])]
        return _Layout(
            steps=len(plan.schedule),
            width=width,
            mode=mode,
            noise_fields=plan.schedule.noise_fields,
            tensors=tuple((name, tensor.shape, tensor.dtype, tensor.device) for name, tensor in tensors),
            predict=predict,
            unconditional=unconditional if mode in ("full", "initialize") else None,
        )


@dataclass
class _Group:
    """Frames that were pushed together: rows `rows` of the batch, at step `step`."""

    rows: list[int]
    tickets: list[int]
    tags: list[object]
    step: int = 0


# Columns of the table that holds each row's numbers for each of its steps.
_TIMESTEP, _ALPHA, _ESTIMATE, _ADVANCE, _SCALE, _DELTA = 0, 1, slice(2, 4), slice(4, 7), 7, 8


def _table(plan: Plan) -> Tensor:
    """(n, 9) numbers of a plan, by step and column."""
    scale, delta = plan.guidance.scale, plan.guidance.delta
    return torch.tensor(
        [[s.timestep, s.alpha, *s.estimate, *s.advance, scale, delta] for s in plan.schedule.steps],
        dtype=torch.float32,
    )


class _Batch:
    """Buffers of n·f rows for the frames of one layout, and who sits in which row.

    Network rows: first the n·f frames, then the unconditional rows, one for each frame (`full`) or for the
    frames at their first step (`initialize`). While every row is taken the buffers go to the network as they
    are; otherwise (start, flush, a push of fewer frames) the rows in use are gathered.
    """

    def __init__(self, layout: _Layout, example: Frame) -> None:
        self.layout = layout
        n, f = layout.steps, layout.width
        self._size = n * f
        extra = {"full": self._size, "initialize": f}.get(layout.mode, 0)
        latent, total = example.latent, self._size + extra
        self._negative = layout.unconditional if extra else None
        self._x = latent.new_empty((total, *latent.shape))
        self._t = torch.empty(total, device=latent.device)
        self._condition = {key: v.new_empty((total, *v.shape)) for key, v in example.condition.items()}
        residual, renoises = layout.mode in ("self", "initialize"), layout.noise_fields > 1
        self._reference = latent.new_empty((self._size, *latent.shape)) if residual else None
        self._noises = latent.new_empty((self._size * n, *latent.shape)) if renoises else None
        self._table = torch.empty((self._size * n, 9), device=latent.device)
        self._plan: Plan | None = None
        self._plan_table = self._table
        self._groups: list[_Group] = []
        self._next_row = 0
        self._whole_indices: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return sum(len(group.tickets) for group in self._groups)

    def step(self) -> dict[int, Finished]:
        """Advance every frame by a step; returns those that are done, by ticket."""
        return self._step(self._groups, [])

    def enter(self, frames: Sequence[Frame], tickets: Sequence[int], plan: Plan) -> dict[int, Finished]:
        """Take in `frames` (1 to f), then as `step`. If the network raises, nothing has happened."""
        rows = self._write(frames, plan)
        group = _Group(rows, list(tickets), [frame.tag for frame in frames])
        finished = self._step([*self._groups, group], rows)
        self._next_row = (self._next_row + self.layout.width) % self._size
        return finished

    def _write(self, frames: Sequence[Frame], plan: Plan) -> list[int]:
        """Copy what the frames bring into the next rows, which are free: their last frames entered n entries ago."""
        if plan != self._plan:
            self._plan, self._plan_table = plan, _table(plan).to(self._table.device)
        n, step = self.layout.steps, plan.schedule.steps[0]
        start, stop = self._next_row, self._next_row + len(frames)
        for row, frame in enumerate(frames, start):
            self._x[row] = add_noise(frame.latent, frame.noises[0], step.alpha, step.sigma)
            for key, value in frame.condition.items():
                self._condition[key][row] = value
            if self._reference is not None:
                self._reference[row] = frame.latent
            if self._noises is not None:
                self._noises[row * n : (row + 1) * n] = frame.noises[:n]
            self._table[row * n : (row + 1) * n] = self._plan_table
        if self._negative is not None:
            negative = self._negative({key: rows[start:stop] for key, rows in self._condition.items()})
            first = self._size + (start if self.layout.mode == "full" else 0)
            for key, rows in self._condition.items():
                rows[first : first + len(frames)] = negative[key]
        return list(range(start, stop))

    def _step(self, groups: list[_Group], entered: list[int]) -> dict[int, Finished]:
        if not groups:
            return {}
        self._denoise(groups, entered)
        # The step counts as taken from here on, where nothing can fail any more.
        finished = {}
        for group in groups:
            group.step += 1
            if group.step == self.layout.steps:
                for row, ticket, tag in zip(group.rows, group.tickets, group.tags, strict=True):
                    finished[ticket] = Finished(self._x[row].clone(), tag)
        self._groups = [group for group in groups if group.step < self.layout.steps]
        return finished

    def _denoise(self, groups: list[_Group], entered: list[int]) -> None:
        """One step of all the groups' rows; `entered` are those at their first step."""
        mode = self.layout.mode
        taken = sorted((row, group.step) for group in groups for row in group.rows)
        rows, steps = [row for row, _ in taken], [step for _, step in taken]
        whole = len(rows) == self._size
        numbers_at, noises_at = self._indices(rows, steps, whole)
        at = slice(self._size) if whole else torch.tensor(rows, device=self._x.device)

        numbers = self._table.index_select(0, numbers_at)
        columns = numbers[:, :, None, None, None].unbind(1)
        x = self._x[at]
        extra = {"full": rows, "initialize": entered}.get(mode, [])
        output = self._call(rows, numbers[:, _TIMESTEP], extra, whole)
        output, negative = output[: len(rows)], output[len(rows) :]

        if mode == "full":
            output = guide(output, negative, columns[_SCALE])
        x0 = estimate(x, output, *columns[_ESTIMATE])
        if self._reference is not None:
            if extra:
                new = slice(rows.index(extra[0]), rows.index(extra[-1]) + 1)
                from_x, from_output = (column[new] for column in columns[_ESTIMATE])
                self._reference[extra[0] : extra[-1] + 1] = estimate(x[new], negative, from_x, from_output)
            x0 = guide_residual(x0, x, self._reference[at], columns[_ALPHA], columns[_SCALE], columns[_DELTA])
        noise = None if self._noises is None else self._noises.index_select(0, noises_at)
        self._x[at] = advance(x, x0, noise, *columns[_ADVANCE]).to(x.dtype)

    def _call(self, rows: list[int], t: Tensor, extra: list[int], whole: bool) -> Tensor:
        """The network's output for `rows`, then for the unconditional rows of the frames in `extra`."""
        size, count = self._size, len(rows)
        self._t[:count] = t
        if extra:
            first = rows.index(extra[0])
            self._t[count : count + len(extra)] = t[first : first + len(extra)]
        if whole:
            if extra:
                self._x[size:] = self._x[extra[0] : extra[-1] + 1]
            return self.layout.predict(self._x, self._t, self._condition)
        negative_rows = (
            range(size, size + len(extra)) if self.layout.mode == "initialize" else (size + r for r in extra)
        )
        x_at = torch.tensor([*rows, *extra], device=self._x.device)
        condition_at = torch.tensor([*rows, *negative_rows], device=self._x.device)
        condition = {key: value.index_select(0, condition_at) for key, value in self._condition.items()}
        return self.layout.predict(self._x.index_select(0, x_at), self._t[: len(x_at)], condition)

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


def _check_width(frames_per_batch: int) -> None:
    if isinstance(frames_per_batch, bool) or not isinstance(frames_per_batch, int) or frames_per_batch < 1:
        raise ParameterError("frames_per_batch", frames_per_batch, "give a whole number from 1 upwards")
