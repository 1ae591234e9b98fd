"""What a stream carries from frame to frame besides its noise: named tensors, and what becomes of them.

A state belongs to the *stream*. A frame is told of it when it begins and leaves a new value when that is known, which
in a stream batch is some frames later; what happened meanwhile is then done to the value before it counts.

    event                          rule
    another scene                  `cut`      keep or forget
    the latent grid jumps          `jump`     keep, forget, or move along by whole cells (`engines.motion.anchor`)
    something moves in the scene   `flow`     keep, forget, or move along
    noise that was not carried     `noise`    keep or forget
    a parameter it depends on      `change`   keep or forget
    another size, a crash          it begins anew
    a skipped frame                nothing
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional as F

from driftcam.engines.motion.stage import FrameMotion

# Frames that may be in flight: the most steps of a stream batch.
_IN_FLIGHT = 8


class Rule(Enum):
    """What an event does to a state."""

    KEEP = "keep"
    FORGET = "forget"
    MOVE = "move"  # along, on the latent grid


@dataclass(frozen=True)
class State:
    """A named tensor of a stream, and its rules.

    Attributes:
        name: by which frames see it.
        cut, jump, flow, noise, change: see the module. `MOVE` is for `jump` and `flow` of values (C, h, w) that lie on
            the latent grid.
        lasts: frames that may see a value after the one that left it; None for any number.
    """

    name: str
    cut: Rule = Rule.FORGET
    jump: Rule = Rule.FORGET
    flow: Rule = Rule.KEEP
    noise: Rule = Rule.KEEP
    change: Rule = Rule.FORGET
    lasts: int | None = None


@dataclass(frozen=True)
class _Event:
    """What happened between a frame and the one before. `backward`: (1, 2, h, w) cells, where something moves."""

    jump: tuple[int, int]
    backward: Tensor | None
    cut: bool
    moved: bool
    fresh_noise: bool


class Carried:
    """All that one stream carries; call from one thread.

    Args:
        states: by different names.
        cells: (height, width) of the latent grid.
    """

    def __init__(self, states: Iterable[State], cells: tuple[int, int]) -> None:
        self._states = {state.name: state for state in states}
        self._cells = cells
        self._moves = any(Rule.MOVE is state.flow for state in self._states.values())
        self._values: dict[str, tuple[int, Tensor]] = {}
        self._events: deque[tuple[int, _Event]] = deque(maxlen=_IN_FLIGHT)
        self._changed: dict[str, int] = {}

    def begin(self, frame: int, motion: FrameMotion, *, fresh_noise: bool) -> dict[str, Tensor]:
        """What frame number `frame` sees.

        Args:
            frame: counts up.
            motion: what moved since the frame before.
            fresh_noise: the frame's noise is not that of the frame before, carried.
        """
        if not self._states:
            return {}
        event = self._event(motion, fresh_noise)
        self._events.append((frame, event))
        for name, (made, value) in list(self._values.items()):
            self._keep(name, made, self._after(self._states[name], value, event))
        return {name: value for name, (made, value) in self._values.items() if self._fresh(name, made, frame)}

    def leave(self, frame: int, name: str, value: Tensor) -> None:
        """Frame number `frame` leaves `value`; nothing happens where the stream has begun anew since then."""
        state = self._states[name]
        if frame <= self._changed.get(name, -1):
            return
        left: Tensor | None = value
        for later, event in self._events:
            if later > frame and left is not None:
                left = self._after(state, left, event)
        self._keep(name, frame, left)

    def changed(self, frame: int, names: Iterable[str]) -> None:
        """Parameters that the states `names` depend on are others from the frame after `frame` on."""
        for name in names:
            if self._states[name].change is Rule.FORGET:
                self._changed[name] = frame
                self._values.pop(name, None)

    def _keep(self, name: str, made: int, value: Tensor | None) -> None:
        if value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = made, value

    def _fresh(self, name: str, made: int, frame: int) -> bool:
        lasts = self._states[name].lasts
        return lasts is None or frame - made <= lasts

    def _event(self, motion: FrameMotion, fresh_noise: bool) -> _Event:
        moved = motion.flow is not None and not motion.cut
        backward = None
        if moved and self._moves and motion.flow is not None:
            backward = _on_cells(torch.from_numpy(motion.flow.backward), self._cells)
        return _Event(motion.jump, backward, motion.cut or motion.first, moved, fresh_noise)

    def _after(self, state: State, value: Tensor, event: _Event) -> Tensor | None:
        """The value after an event, None where that ends it."""
        ends = (
            (event.cut, state.cut),
            (event.jump != (0, 0), state.jump),
            (event.moved, state.flow),
            (event.fresh_noise, state.noise),
        )
        if any(happened and rule is Rule.FORGET for happened, rule in ends):
            return None
        if event.backward is not None and state.flow is Rule.MOVE:
            return _warped(value, event.backward)  # the flow has the jump in it
        return _shifted(value, event.jump) if event.jump != (0, 0) and state.jump is Rule.MOVE else value


def _on_cells(flow: Tensor, cells: tuple[int, int]) -> Tensor:
    """A flow (H, W, 2) in pixels as (1, 2, h, w) in cells; a copy."""
    height, width = flow.shape[:2]
    ratio = torch.tensor([cells[1] / width, cells[0] / height]).view(1, 2, 1, 1)
    return F.interpolate(flow.permute(2, 0, 1)[None], cells, mode="bilinear", align_corners=False) * ratio


def _warped(value: Tensor, backward: Tensor) -> Tensor:
    """(C, h, w) taken from where each cell was; the border goes on outside."""
    height, width = value.shape[1:]
    flow = backward[0].to(value.device)
    y, x = torch.meshgrid(
        torch.arange(height, device=value.device), torch.arange(width, device=value.device), indexing="ij"
    )
    where = torch.stack([(2 * (x + flow[0]) + 1) / width - 1, (2 * (y + flow[1]) + 1) / height - 1], dim=-1)
    return F.grid_sample(value[None], where[None].to(value.dtype), padding_mode="border", align_corners=False)[0]


def _shifted(value: Tensor, jump: tuple[int, int]) -> Tensor:
    """(C, h, w) moved by (x, y) cells; the border goes on outside."""
    height, width = value.shape[1:]
    rows = (torch.arange(height, device=value.device) - jump[1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=value.device) - jump[0]).clamp(0, width - 1)
    return value[:, rows[:, None], columns]
