"""Host arrays in, work on the card, a host array out, with copies beside the work.

Three streams run side by side: copies in, work, copies out. Events order them, staging memory is pinned and reused,
and the work of a slot is one CUDA graph from its second turn on. A slot's turn:

    host      wait for `uploaded` of its last turn, fill the staging
    copy in   wait for `computed` of its last turn, copy, record `uploaded`
    compute   wait for `uploaded`, and for `landed` of its last turn; work; record `computed`
    copy out  wait for `computed`, copy, record `landed`
    host      wait for `landed`, read the result
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from driftcam.engines.backends.cuda.driver import CaptureError, CudaStream, Driver, Memory

_log = logging.getLogger(__name__)

Work = Callable[[Sequence[Memory], Memory, CudaStream], None]
"""work(inputs, output, stream) enqueues the same work for the same memory every time."""


class Lanes:
    """The three streams of a card, shared by all passes that run on it one after the other."""

    def __init__(self, driver: Driver) -> None:
        self.copy_in, self.compute, self.copy_out = driver.stream(), driver.stream(), driver.stream()


class Slot:
    """Memory and events of one frame in flight. `staged` are the inputs to fill, (size,) u8 each."""

    def __init__(self, driver: Driver, inputs: Sequence[int], output: int) -> None:
        self._staging = [driver.pinned(size) for size in inputs]
        self.inputs = [driver.device(size) for size in inputs]
        self.output = driver.device(output)
        self.landing = driver.pinned(output)
        self.uploaded, self.computed, self.landed = driver.event(), driver.event(), driver.event()
        self.graph: Any = None
        self.turns = 0

    @property
    def staged(self) -> list[np.ndarray]:
        return [staging.opened() for staging in self._staging]

    def copy_in(self, driver: Driver, stream: CudaStream) -> None:
        for to, staging in zip(self.inputs, self._staging, strict=True):
            driver.copy(to, staging, stream)


class Pass:
    """`slots` frames in flight at most; call from one thread at a time.

    Args:
        inputs, output: bytes of each array.
        graphs: capture the work, which must then be the same every time.
    """

    def __init__(
        self, driver: Driver, lanes: Lanes, inputs: Sequence[int], output: int, work: Work, *, slots: int = 2,
        graphs: bool = True,
    ) -> None:  # fmt: skip
        self._driver, self._lanes, self._work, self._graphs = driver, lanes, work, graphs
        self._slots = [Slot(driver, inputs, output) for _ in range(slots)]
        self._next = 0

    def __del__(self) -> None:
        """Memory is not given back while the card still works with it."""
        for slot in self._slots:
            self._driver.finish(slot.landed)

    def acquire(self) -> Slot:
        """The next slot, its staging free to be filled. What it gave last time is overwritten from `submit` on."""
        self._driver.use()
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        self._driver.finish(slot.uploaded)
        return slot

    def submit(self, slot: Slot) -> None:
        """Enqueue the slot's turn; returns at once."""
        driver, lanes = self._driver, self._lanes
        driver.wait(lanes.copy_in, slot.computed)
        slot.copy_in(driver, lanes.copy_in)
        driver.record(slot.uploaded, lanes.copy_in)
        driver.wait(lanes.compute, slot.uploaded)
        driver.wait(lanes.compute, slot.landed)
        self._compute(slot)
        driver.record(slot.computed, lanes.compute)
        driver.wait(lanes.copy_out, slot.computed)
        driver.copy(slot.landing, slot.output, lanes.copy_out)
        driver.record(slot.landed, lanes.copy_out)

    def collect(self, slot: Slot) -> np.ndarray:
        """Wait for the slot's result (size,) u8, valid until the slot is submitted again."""
        self._driver.finish(slot.landed)
        return slot.landing.opened()

    def recapture(self) -> None:
        """Forget the graphs: the work has changed."""
        for slot in self._slots:
            slot.graph, slot.turns = None, 0

    def _compute(self, slot: Slot) -> None:
        stream = self._lanes.compute

        def work() -> None:
            self._work(slot.inputs, slot.output, stream)

        slot.turns += 1
        if self._graphs and slot.turns == 2:  # on the first turn libraries still compile and allocate
            try:
                slot.graph = self._driver.capture(stream, work)
            except CaptureError as error:
                self._graphs = False
                _log.warning("no CUDA graph (%s); every step is launched by itself", error)
        if slot.graph is not None:
            self._driver.replay(slot.graph, stream)
        else:
            work()
