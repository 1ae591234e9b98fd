"""What a stream carries, and what becomes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from driftcam.engines.carried import Carried, Rule, State
from driftcam.engines.motion.flow import Motion
from driftcam.engines.motion.stage import FIRST, FrameMotion

CELLS = (6, 8)
STILL = FrameMotion()


def value(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, *CELLS, generator=torch.Generator().manual_seed(seed))


def flow(backward: np.ndarray, cut: bool = False) -> FrameMotion:
    trust = np.ones(backward.shape[:2], np.float32)
    return FrameMotion(flow=Motion(-backward, backward, trust, cut=cut))


MOVING = flow(np.full((*CELLS, 2), 1.0, np.float32))


@pytest.mark.parametrize(
    ("rule", "motion", "fresh_noise"),
    [
        ("cut", FIRST, False),
        ("cut", flow(np.zeros((*CELLS, 2), np.float32), cut=True), False),
        ("jump", FrameMotion(jump=(1, 0)), False),
        ("flow", MOVING, False),
        ("noise", STILL, True),
    ],
)
def test_an_event_ends_what_it_is_to_end_and_nothing_else(rule: str, motion: FrameMotion, fresh_noise: bool) -> None:
    kept = dict.fromkeys(("cut", "jump", "flow", "noise"), Rule.KEEP)
    carried = Carried([State("ends", **(kept | {rule: Rule.FORGET})), State("stays", **kept)], CELLS)
    assert carried.begin(0, FIRST, fresh_noise=True) == {}
    for name in ("ends", "stays"):
        carried.leave(0, name, value())
    assert set(carried.begin(1, STILL, fresh_noise=False)) == {"ends", "stays"}
    assert set(carried.begin(2, motion, fresh_noise=fresh_noise)) == {"stays"}
    assert set(carried.begin(3, STILL, fresh_noise=False)) == {"stays"}


def test_a_value_is_seen_by_so_many_frames_only() -> None:
    carried = Carried([State("held", lasts=2)], CELLS)
    carried.begin(0, FIRST, fresh_noise=False)
    carried.leave(0, "held", value())
    seen = [bool(carried.begin(frame, STILL, fresh_noise=False)) for frame in range(1, 5)]
    assert seen == [True, True, False, False]


def test_a_value_moves_with_the_grid_by_whole_cells() -> None:
    carried = Carried([State("texture", jump=Rule.MOVE)], CELLS)
    carried.begin(0, FIRST, fresh_noise=False)
    carried.leave(0, "texture", value())
    moved = carried.begin(1, FrameMotion(jump=(2, -1)), fresh_noise=False)["texture"]
    torch.testing.assert_close(moved[:, :-1, 2:], value()[:, 1:, :-2])
    assert torch.isfinite(moved).all()


def test_a_value_moves_along_the_flow_as_looked_up_in_float64() -> None:
    """Against NumPy, on a flow that is given at twice the cells' size and points between cells."""
    height, width = CELLS
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    cells = np.stack([0.3 * np.sin(y) + 0.7, 0.4 * np.cos(x) - 0.5], axis=-1)
    carried = Carried([State("texture", flow=Rule.MOVE, jump=Rule.MOVE)], CELLS)
    carried.begin(0, FIRST, fresh_noise=False)
    carried.leave(0, "texture", value())
    fine = (2 * np.repeat(np.repeat(cells, 2, 0), 2, 1)).astype(np.float32)
    moved = carried.begin(1, flow(fine), fresh_noise=False)["texture"].double().numpy()
    u, v = np.clip(x + cells[..., 0], 0, width - 1), np.clip(y + cells[..., 1], 0, height - 1)
    left, top = np.minimum(u.astype(int), width - 2), np.minimum(v.astype(int), height - 2)
    a, b, old = u - left, v - top, value().double().numpy()
    upper = old[:, top, left] * (1 - a) + old[:, top, left + 1] * a
    lower = old[:, top + 1, left] * (1 - a) + old[:, top + 1, left + 1] * a
    np.testing.assert_allclose(moved, upper * (1 - b) + lower * b, atol=1e-5)


def test_what_happened_while_a_frame_was_in_flight_happens_to_what_it_leaves() -> None:
    """As in a stream batch: frame 0 leaves its value when frame 2 has begun."""
    late, soon = (Carried([State("texture", jump=Rule.MOVE)], CELLS) for _ in range(2))
    jumps = [FrameMotion(jump=(1, 0)), FrameMotion(jump=(0, 1))]
    for carried in (late, soon):
        carried.begin(0, FIRST, fresh_noise=False)
    soon.leave(0, "texture", value())
    for frame, motion in enumerate(jumps, 1):
        late.begin(frame, motion, fresh_noise=False)
        soon.begin(frame, motion, fresh_noise=False)
    late.leave(0, "texture", value())
    pair = [carried.begin(3, STILL, fresh_noise=False)["texture"] for carried in (late, soon)]
    torch.testing.assert_close(*pair)
    cut = Carried([State("texture")], CELLS)
    cut.begin(0, FIRST, fresh_noise=False)
    cut.begin(1, flow(np.zeros((*CELLS, 2), np.float32), cut=True), fresh_noise=False)
    cut.leave(0, "texture", value())
    assert cut.begin(2, STILL, fresh_noise=False) == {}


def test_frames_begun_before_a_change_leave_nothing_of_what_it_ends() -> None:
    carried = Carried([State("style"), State("size", change=Rule.KEEP)], CELLS)
    carried.begin(0, FIRST, fresh_noise=False)
    carried.changed(0, ["style", "size"])
    carried.begin(1, STILL, fresh_noise=False)
    for name in ("style", "size"):
        carried.leave(0, name, value())
    assert set(carried.begin(2, STILL, fresh_noise=False)) == {"size"}
    carried.leave(1, "style", value(1))
    torch.testing.assert_close(carried.begin(3, STILL, fresh_noise=False)["style"], value(1))


def test_a_stream_that_carries_nothing_does_nothing() -> None:
    carried = Carried([], CELLS)
    assert carried.begin(0, MOVING, fresh_noise=True) == {}
