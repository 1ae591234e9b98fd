"""Where the time of a frame goes, counted."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from driftcam.engines.timing import BOUNDS_MS, StageClock


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=700))
def test_every_frame_is_counted_once_where_it_belongs(times: list[float]) -> None:
    clock = StageClock()
    for time in times:
        clock.add("flow", time)
    counted = clock.histogram()["stages"]["flow"]
    edges = [float("-inf"), *BOUNDS_MS, float("inf")]
    expected = [sum(low < time <= high for time in times) for low, high in itertools.pairwise(edges)]
    assert counted["counts"] == expected
    assert abs(counted["sum"] - sum(times)) < 1e-6 * max(1, sum(times))


def test_after_a_warm_up_nothing_is_left() -> None:
    clock = StageClock()
    clock.add("flow", 3)
    clock.clear()
    assert clock.histogram()["stages"] == {} == clock.summary()
