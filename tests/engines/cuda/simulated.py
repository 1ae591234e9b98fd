"""A card that is not there: a `Driver` that runs every stream in random order, on the host's memory.

Work waits in its stream until somebody waits for it; then any stream that may go on goes on. Every access to memory is
checked against all earlier ones with vector clocks: a read before its writer's event, or a write to memory that
somebody may still read, is an error even where the random order hides it.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftcam.engines.backends.cuda.driver import BLOCK, CaptureError, grid_of

Clock = dict[str, int]
HOST = "host"


class Race(AssertionError):
    """Two accesses without an order."""


class SimulatedMemory:
    def __init__(self, driver: SimulatedDriver, size: int) -> None:
        self._driver, self.size = driver, size
        self.host = np.frombuffer(driver.noise.bytes(size), np.uint8).copy()  # never zeros by luck
        self.pointer = self.host.ctypes.data
        self.written: tuple[str, int] | None = None
        self.read: dict[str, int] = {}

    def opened(self) -> np.ndarray:
        """The host is about to read and to write."""
        self._driver.host_access(self)
        return self.host


@dataclass
class Recording:
    clock: Clock = field(default_factory=dict)
    happened: bool = True


@dataclass
class Event:
    last: Recording = field(default_factory=Recording)


@dataclass
class CudaStream:
    name: str
    clock: Clock = field(default_factory=dict)
    queue: list[tuple[Callable[[], bool], Callable[[], None]]] = field(default_factory=list)


@dataclass
class Work:
    reads: Sequence[SimulatedMemory]
    writes: Sequence[SimulatedMemory]
    run: Callable[[], None]


class SimulatedDriver:
    """See `engines.backends.cuda.driver.Driver`; `shim` is the compiled tests/engines/cuda/shim.c."""

    target = "sm89"

    def __init__(self, shim: ctypes.CDLL | None = None, seed: int = 0, memory: int = 8 << 30) -> None:
        self._shim, self._random = shim, random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self._streams: list[CudaStream] = []
        self._host: Clock = {HOST: 0}
        self._capturing: list[Work] | None = None
        self._memory = memory
        self.allocated: list[SimulatedMemory] = []
        self.refuses_capture = False
        self.launches = self.replays = 0

    # -- what the card does -------------------------------------------------------------------------

    def use(self) -> None:
        pass

    def device(self, size: int) -> SimulatedMemory:
        self.allocated.append(SimulatedMemory(self, size))
        return self.allocated[-1]

    pinned = device

    def at(self, pointer: int) -> SimulatedMemory:
        """The memory that a library was given the address of."""
        return next(m for m in self.allocated if m.pointer <= pointer < m.pointer + max(m.size, 1))

    def free_memory(self) -> int:
        return self._memory

    def stream(self) -> CudaStream:
        self._streams.append(CudaStream(f"stream {len(self._streams)}"))
        return self._streams[-1]

    def handle(self, stream: CudaStream) -> int:
        return self._streams.index(stream)

    def by_handle(self, handle: int) -> CudaStream:
        return self._streams[handle]

    def event(self) -> Event:
        return Event()

    def record(self, event: Event, stream: CudaStream) -> None:
        recording = event.last = Recording(self._tick(stream), False)

        def run() -> None:
            recording.happened = True

        stream.queue.append((lambda: True, run))

    def wait(self, stream: CudaStream, event: Event) -> None:
        recording = event.last
        _join(stream.clock, recording.clock)
        stream.queue.append((lambda: recording.happened, lambda: None))

    def finish(self, event: Event) -> None:
        while not event.last.happened:
            self._step()
        _join(self._host, event.last.clock)

    def copy(self, to: SimulatedMemory, source: SimulatedMemory, stream: CudaStream) -> None:
        def run() -> None:
            to.host[: source.size] = source.host

        self.enqueue(stream, Work([source], [to], run))

    def kernel(self, name: str, size: tuple[int, int], arguments: Sequence[Any]) -> Work:
        memories = [a for a in arguments if isinstance(a, SimulatedMemory)]
        function = getattr(self._shim, f"run_{name}")
        values = [*grid_of(size), *BLOCK, *map(_typed, arguments)]
        return Work([memories[0], *memories[2:]], [memories[1]], lambda: function(*values))

    def launch(self, kernel: Work, stream: CudaStream) -> None:
        self.launches += 1
        self.enqueue(stream, kernel)

    def capture(self, stream: CudaStream, work: Callable[[], None]) -> list[Work]:
        if self.refuses_capture:
            raise CaptureError("operation not permitted when stream is capturing")
        self._capturing = []
        work()
        graph, self._capturing = self._capturing, None
        return graph

    def replay(self, graph: list[Work], stream: CudaStream) -> None:
        self.replays += 1
        for work in graph:
            self.enqueue(stream, work)

    # -- order --------------------------------------------------------------------------------------

    def enqueue(self, stream: CudaStream, work: Work) -> None:
        if self._capturing is not None:
            self._capturing.append(work)
            return
        clock = self._tick(stream)
        for memory in work.reads:
            self._check_read(memory, stream.name, clock)
        for memory in work.writes:
            self._check_write(memory, stream.name, clock)
        stream.queue.append((lambda: True, work.run))

    def host_access(self, memory: SimulatedMemory) -> None:
        self._host[HOST] += 1
        self._check_read(memory, HOST, self._host)
        self._check_write(memory, HOST, self._host)

    def settle(self) -> None:
        """Let everything end."""
        while any(stream.queue for stream in self._streams):
            self._step()

    def _step(self) -> None:
        ready = [stream for stream in self._streams if stream.queue and stream.queue[0][0]()]
        if not ready:
            raise AssertionError("deadlock: somebody waits for what never happens")
        _, run = self._random.choice(ready).queue.pop(0)
        run()

    def _tick(self, stream: CudaStream) -> Clock:
        _join(stream.clock, self._host)  # work starts after the call that enqueued it
        stream.clock[stream.name] = stream.clock.get(stream.name, 0) + 1
        return dict(stream.clock)

    def _check_read(self, memory: SimulatedMemory, who: str, clock: Clock) -> None:
        if memory.written is not None and clock.get(memory.written[0], 0) < memory.written[1]:
            raise Race(f"{who} reads what {memory.written[0]} may not have written yet")
        memory.read[who] = clock[who]

    def _check_write(self, memory: SimulatedMemory, who: str, clock: Clock) -> None:
        for reader, time in memory.read.items():
            if clock.get(reader, 0) < time:
                raise Race(f"{who} writes what {reader} may still read")
        if memory.written is not None and clock.get(memory.written[0], 0) < memory.written[1]:
            raise Race(f"{who} writes over what {memory.written[0]} may not have written yet")
        memory.written, memory.read = (who, clock[who]), {}


def _join(clock: Clock, other: Clock) -> None:
    for name, time in other.items():
        clock[name] = max(clock.get(name, 0), time)


def _typed(value: Any) -> Any:
    if isinstance(value, SimulatedMemory):
        return ctypes.c_void_p(value.pointer)
    return ctypes.c_float(value) if isinstance(value, float) else value
