"""What we ask of a graphics card: memory, streams, events, kernels, graphs. `CudaDriver` asks NVIDIA's driver."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.cuda.kernels import kept_kernels

CudaStream = Any
Event = Any
Kernel = Any
Graph = Any


class CaptureError(Exception):
    """What was enqueued cannot be captured in a graph."""


class Memory(Protocol):
    """A piece of memory, freed with the object.

    Attributes:
        pointer: its address on the card.
        size: bytes.
    """

    pointer: int
    size: int


class Pinned(Memory, Protocol):
    """Memory of the computer that the card reaches by itself.

    `host` (size,) u8 is the same memory for us, and may be touched between `opened` and the next copy alone: `opened`
    says that we are about to.
    """

    host: np.ndarray

    def opened(self) -> np.ndarray: ...


class Driver(Protocol):
    """One card, of generation `target` (`sm89`). Nothing waits but `finish`, and nothing waits for the whole card."""

    target: str

    def use(self) -> None:
        """Make this card that of the calling thread."""

    def device(self, size: int) -> Memory: ...

    def pinned(self, size: int) -> Pinned: ...

    def wrap(self, pointer: int, size: int) -> Memory:
        """Memory of somebody else."""

    def free_memory(self) -> int:
        """Bytes."""

    def stream(self) -> CudaStream: ...

    def foreign_stream(self, handle: int) -> CudaStream: ...

    def handle(self, stream: CudaStream) -> int:
        """What other libraries call the stream."""

    def event(self) -> Event:
        """One that counts as having happened until it is recorded."""

    def record(self, event: Event, stream: CudaStream) -> None: ...

    def wait(self, stream: CudaStream, event: Event) -> None:
        """Later work of `stream` starts after `event`."""

    def finish(self, event: Event) -> None:
        """Wait here for `event`."""

    def copy(self, to: Memory, source: Memory, stream: CudaStream) -> None:
        """All of `source`."""

    def kernel(self, name: str, size: tuple[int, int], arguments: Sequence[Any]) -> Kernel:
        """A kernel of `kernels.py` with one thread for each of `size` (columns, rows), ready to launch;
        whole numbers are 32 bit, as are those with a point."""

    def launch(self, kernel: Kernel, stream: CudaStream) -> None: ...

    def capture(self, stream: CudaStream, work: Callable[[], None]) -> Graph:
        """What `work` enqueues on `stream`, not run. Raises `CaptureError`."""

    def replay(self, graph: Graph, stream: CudaStream) -> None: ...


BLOCK = (16, 16)


def grid_of(size: tuple[int, int]) -> tuple[int, int]:
    """Blocks of threads that cover `size`."""
    return -(-size[0] // BLOCK[0]), -(-size[1] // BLOCK[1])


class _Memory:
    """`free` gives it back when nobody has it any more."""

    def __init__(self, pointer: int, size: int, free: Callable[[], object] | None = None) -> None:
        self.pointer, self.size = pointer, size
        if free is not None:
            weakref.finalize(self, free)


class _Pinned(_Memory):
    def __init__(self, pointer: int, size: int, free: Callable[[], object]) -> None:
        super().__init__(pointer, size, free)
        self.host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))

    def opened(self) -> np.ndarray:
        return self.host


class CudaDriver:
    """NVIDIA's driver through cuda-python; see `Driver`. `folder` keeps compiled kernels.

    Raises:
        ParameterError: the card does not answer.
    """

    def __init__(self, folder: Path, index: int = 0) -> None:
        from cuda import core
        from cuda.bindings import driver

        self._core, self._api = core, driver
        try:
            self._card = core.Device(index)
            self._card.set_current()
        except Exception as error:  # cuda-python has one class for each of the driver's errors
            raise ParameterError("gpu", index, f"the driver does not open it ({error}); see: driftcam doctor") from None
        major, minor = self._card.compute_capability
        self.target = f"sm{major}{minor}"
        self._code = core.ObjectCode.from_cubin(kept_kernels(self.target, folder))
        self._keeper = self.stream()  # on which memory is taken and given back, so that no other stream is held up

    def use(self) -> None:
        self._card.set_current()

    def device(self, size: int) -> Memory:
        keeper, api = self._keeper.handle, self._api
        pointer = int(self._checked(api.cuMemAllocAsync(size, keeper), size))
        self._keeper.sync()  # other streams may use it from now on
        return _Memory(pointer, size, lambda: api.cuMemFreeAsync(pointer, keeper))

    def pinned(self, size: int) -> Pinned:
        api = self._api
        pointer = int(self._checked(api.cuMemAllocHost(size), size))
        return _Pinned(pointer, size, lambda: api.cuMemFreeHost(pointer))

    def wrap(self, pointer: int, size: int) -> Memory:
        return _Memory(pointer, size)

    def free_memory(self) -> int:
        status, free, _ = self._api.cuMemGetInfo()
        self._checked((status,))
        return int(free)

    def stream(self) -> CudaStream:
        return self._card.create_stream(options=self._core.StreamOptions(nonblocking=True))

    def foreign_stream(self, handle: int) -> CudaStream:
        return self._core.Stream.from_handle(handle)

    def handle(self, stream: CudaStream) -> int:
        return int(stream.handle)

    def event(self) -> Event:
        # A thread that waits sleeps: a spinning one would take a core from whoever makes the noise.
        return self._card.create_event(self._core.EventOptions(blocking_sync=True))

    def record(self, event: Event, stream: CudaStream) -> None:
        stream.record(event)

    def wait(self, stream: CudaStream, event: Event) -> None:
        stream.wait(event)

    def finish(self, event: Event) -> None:
        event.sync()

    def copy(self, to: Memory, source: Memory, stream: CudaStream) -> None:
        self._checked(self._api.cuMemcpyAsync(to.pointer, source.pointer, source.size, stream.handle))

    def kernel(self, name: str, size: tuple[int, int], arguments: Sequence[Any]) -> Kernel:
        config = self._core.LaunchConfig(grid=grid_of(size), block=BLOCK)
        return self._code.get_kernel(name), config, tuple(map(_argument, arguments))

    def launch(self, kernel: Kernel, stream: CudaStream) -> None:
        code, config, arguments = kernel
        self._core.launch(stream, config, code, *arguments)

    def capture(self, stream: CudaStream, work: Callable[[], None]) -> Graph:
        builder = stream.create_graph_builder()
        try:
            builder.begin_building("thread_local")
            try:
                work()
            finally:
                builder.end_building()  # whatever happened: a stream that captures runs nothing
            return builder.complete()
        except Exception as error:
            raise CaptureError(str(error)) from error
        finally:
            builder.close()

    def replay(self, graph: Graph, stream: CudaStream) -> None:
        graph.launch(stream)

    def _checked(self, result: Sequence[Any], size: int = 0) -> Any:
        """The value of a call that went well. Raises `ParameterError` for too little memory, else `RuntimeError`."""
        status, *values = result
        if status == self._api.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise out_of_memory(size, self.free_memory())
        if status != self._api.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"the graphics driver says {status.name}")
        return values[0] if values else None


def out_of_memory(size: int, free: int) -> ParameterError:
    """For `size` bytes that are not to be had."""
    advice = f"{max(size - free, 0) / 1e6:.0f} MB are missing; choose a smaller size, or close what else uses the card"
    return ParameterError("GPU memory", f"{size / 1e6:.0f} MB of {free / 1e6:.0f} MB free", advice)


def _argument(value: Any) -> Any:
    if isinstance(value, int):
        return np.int32(value)
    if isinstance(value, float):
        return np.float32(value)
    return value.pointer  # an int is an address to cuda-python
