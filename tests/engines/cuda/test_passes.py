"""Order on the card: results are right in whatever order the streams run, and nothing is touched too early."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from driftcam.engines.backends.cuda.driver import out_of_memory
from driftcam.engines.backends.cuda.passes import Lanes, Pass, Slot
from tests.engines.cuda.simulated import CudaStream, Race, SimulatedDriver, SimulatedMemory, Work

SIZE = 24


def adding(driver: SimulatedDriver):
    """Work whose result tells its inputs."""

    def work(inputs: Sequence[SimulatedMemory], output: SimulatedMemory, stream: CudaStream) -> None:
        def run() -> None:
            output.host[:] = inputs[0].host + 3 * inputs[1].host

        driver.enqueue(stream, Work(inputs, [output], run))

    return work


def start(path: Pass, value: int) -> Slot:
    slot = path.acquire()
    slot.staged[0][:], slot.staged[1][:] = value, value + 1
    path.submit(slot)
    return slot


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("graphs", [True, False])
def test_results_are_right_and_ordered_whatever_the_streams_do(slots: int, graphs: bool) -> None:
    for seed in range(25):
        driver = SimulatedDriver(seed=seed)
        path = Pass(driver, Lanes(driver), [SIZE, SIZE], SIZE, adding(driver), slots=slots, graphs=graphs)
        flying: list[tuple[Slot, int]] = []
        for value in range(12):
            flying.append((start(path, value), value))
            if len(flying) == slots:
                slot, expected = flying.pop(0)
                assert (path.collect(slot) == 4 * expected + 3).all()
        assert bool(driver.replays) == graphs


def test_nothing_is_allocated_after_the_start() -> None:
    driver = SimulatedDriver()
    path = Pass(driver, Lanes(driver), [SIZE, SIZE], SIZE, adding(driver))
    before = len(driver.allocated)
    staging = {id(path.collect(start(path, k)).base) for k in range(20)}
    assert (len(driver.allocated) == before and len(staging) == 1) or len(staging) <= 2


def test_two_passes_share_the_lanes() -> None:
    driver = SimulatedDriver(seed=4)
    lanes = Lanes(driver)
    first, second = (Pass(driver, lanes, [SIZE, SIZE], SIZE, adding(driver)) for _ in range(2))
    for value in range(6):
        slots = start(first, value), start(second, value + 50)
        assert (second.collect(slots[1]) == 4 * (value + 50) + 3).all()
        assert (first.collect(slots[0]) == 4 * value + 3).all()


def test_memory_is_not_given_back_while_the_card_works_with_it() -> None:
    driver, ran = SimulatedDriver(), []

    def work(inputs, output, stream) -> None:
        driver.enqueue(stream, Work(inputs, [output], lambda: ran.append(1)))

    path = Pass(driver, Lanes(driver), [SIZE, SIZE], SIZE, work)
    start(path, 1)
    assert not ran
    del path
    assert ran


def test_missing_memory_is_counted() -> None:
    assert "500 MB are missing; choose a smaller size" in str(out_of_memory(1_500_000_000, 1_000_000_000))


def test_work_that_cannot_be_captured_is_launched_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    driver = SimulatedDriver()
    driver.refuses_capture = True
    path = Pass(driver, Lanes(driver), [SIZE, SIZE], SIZE, adding(driver))
    with caplog.at_level(logging.WARNING):
        for value in range(8):
            assert (path.collect(start(path, value)) == 4 * value + 3).all()
    assert driver.replays == 0 and len(caplog.records) == 1


def test_changed_work_is_captured_anew() -> None:
    driver, factor = SimulatedDriver(), [1]

    def work(inputs, output, stream) -> None:
        kept = factor[0]  # as an address or a weight is kept by a graph
        driver.enqueue(stream, Work(inputs, [output], lambda: np.multiply(inputs[0].host, kept, out=output.host)))

    path = Pass(driver, Lanes(driver), [SIZE, SIZE], SIZE, work, slots=1)
    assert [path.collect(start(path, 2))[0] for _ in range(3)] == [2, 2, 2]
    factor[0] = 5
    assert path.collect(start(path, 2))[0] == 2, "the graph has the old work"
    path.recapture()
    assert [path.collect(start(path, 2))[0] for _ in range(3)] == [10, 10, 10]


@pytest.mark.parametrize(("rule", "left_out"), [("wait", 0), ("wait", 1), ("wait", 2), ("wait", 3), ("finish", 0)])
def test_the_simulated_card_sees_a_missing_wait(rule: str, left_out: int) -> None:
    """What keeps the tests above honest: without any one of the five waits of a turn the order is broken and seen."""
    driver = SimulatedDriver()
    path = Pass(driver, Lanes(driver), [SIZE, SIZE], SIZE, adding(driver), slots=1)
    real, calls = getattr(driver, rule), []

    def sometimes(*arguments) -> None:
        calls.append(arguments)
        if (len(calls) - 1) % {"wait": 4, "finish": 1}[rule] != left_out:
            real(*arguments)

    setattr(driver, rule, sometimes)
    with pytest.raises(Race):
        for value in range(3):
            start(path, value)  # never collected, so that nothing else makes an order
