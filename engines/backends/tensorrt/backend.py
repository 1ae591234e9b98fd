"""TensorRT on an NVIDIA card: engines from the cache, frames through our own kernels, one CUDA graph a network."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.base import (
    Cost,
    Shapes,
    choose_precision,
    count,
    from_frame,
    preferred,
    to_frame,
)
from driftcam.engines.backends.cuda.driver import CudaDriver, CudaStream, Driver, Kernel, Memory
from driftcam.engines.backends.cuda.passes import Lanes, Pass
from driftcam.engines.backends.folders import engines_folder
from driftcam.engines.backends.network import UNIT, NetworkSpec, Ranges
from driftcam.engines.backends.nvidia import ask_driver
from driftcam.engines.backends.progress import Progress
from driftcam.engines.backends.tensorrt.build import TARGETS, precisions_of
from driftcam.engines.backends.tensorrt.cache import EngineCache, EngineKey
from driftcam.engines.backends.tensorrt.library import Library, load
from driftcam.engines.backends.tensorrt.prepare import key_of, prepare
from driftcam.engines.backends.tensorrt.runtime import Context, Runner

_log = logging.getLogger(__name__)
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float16}
_KERNELS_KEPT = 16


class TensorRtBackend:
    """One card, `precision` for networks that ask for none. What it stands on can be given for tests: `driver`,
    `library` and `engine_of`, which stands for `engines.backends.tensorrt.prepare.prepare`. With `refit` its networks'
    weights can be replaced.
    """

    name, multiple, least = "tensorrt", UNIT, Ranges().height[0] * UNIT

    def __init__(
        self,
        driver: Driver | None = None,
        library: Library | None = None,
        engine_of: Callable[..., bytes] = prepare,
        refit: bool = False,
        device: int = 0,
        precision: str = "auto",
    ) -> None:
        folder = engines_folder()
        self._library = library or load()
        self.driver = driver or CudaDriver(folder.with_name("kernels"), device)
        self._card = "" if driver else ask_driver().cards[device].name
        self._refit = refit
        self._engine_of, self._cache, self._folder = engine_of, EngineCache(folder), folder
        self.precisions: Sequence[str] = preferred(self.name, precisions_of(self.driver.target), precision)
        self._lanes = Lanes(self.driver)
        # An engine leaves the card with the last network that runs it.
        self._runners: WeakValueDictionary[EngineKey, Runner] = WeakValueDictionary()
        self._lock = threading.Lock()  # a new size is compiled beside the running networks

    def describe(self) -> str:
        return f"{self._library.flavour} {self._library.version} {self.precisions[0]} ({self._card})"

    def compile(
        self, spec: NetworkSpec, shapes: Shapes, precision: str = "auto", progress: Progress | None = None
    ) -> TensorRtNetwork | HostFrames:
        """See `Backend`. One engine serves all shapes within its ranges, so only the first of them waits for a build.

        Of the engines in the cache that were built for these shapes that of the smallest ranges serves.
        """
        started = time.perf_counter()
        precision = choose_precision(self, precision)
        if spec.frame and _DTYPES[precision] != torch.float16:
            bare = self.compile(dataclasses.replace(spec, frame=""), shapes, precision, progress)
            assert isinstance(bare, TensorRtNetwork)
            return HostFrames(bare, spec.frame)
        self.driver.use()
        runner = self._runner(spec, shapes, precision, progress)
        network = TensorRtNetwork(spec, shapes, runner, self.driver, self._lanes, _DTYPES[precision])
        runner.keep_compiled()
        taken = time.perf_counter() - started
        network.cost = Cost(self._card, precision, count(spec.module), network.memory, taken)
        return network

    def _runner(self, spec: NetworkSpec, shapes: Shapes, precision: str, progress: Progress | None) -> Runner:
        # Data-centre TensorRT builds for the card at hand alone.
        ahead = self._library.flavour == "tensorrt_rtx" and self.driver.target in TARGETS
        target = self.driver.target if ahead else "current"
        wanted = key_of(spec, target, precision, refit=self._refit, library=self._library)
        with self._lock:
            key = self._cache.smallest(wanted, spec.sizes(shapes))
            runner = self._runners.get(key)
            if runner is None:
                engine = self._engine_of(spec, key, self._cache, progress=progress, notify=_log.warning)
                compiled = self._folder / f"{key.name}.compiled"
                runner = self._runners[key] = Runner(self._library, self.driver, engine, spec.name, compiled)
            return runner


class HostFrames:
    """A network whose precision our kernels do not know, between frames that the processor converts."""

    def __init__(self, network: TensorRtNetwork, frame: str) -> None:
        self._network, self._frame, self.cost = network, frame, network.cost

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self._frame == "in":
            return self._network(from_frame(inputs[0]), *inputs[1:])
        return to_frame(self._network(*inputs))

    def refit(self, weights: Mapping[str, Tensor]) -> None:
        """See `TensorRtNetwork.refit`."""
        self._network.refit(weights)


class TensorRtNetwork:
    """An engine at fixed shapes with its staging memory.

    Tensors of the CPU go through pinned memory; those of the card are read where they lie, on torch's own stream.
    `memory` is in bytes.
    """

    cost: Cost

    def __init__(
        self, spec: NetworkSpec, shapes: Shapes, runner: Runner, driver: Driver, lanes: Lanes, dtype: torch.dtype
    ) -> None:
        self._spec, self._runner, self._driver, self._lanes, self._dtype = spec, runner, driver, lanes, dtype
        self._context: Context = runner.context(shapes)
        self._inner = {name: tuple(shape) for name, shape in shapes.items()} | {
            runner.output: self._context.shape(runner.output)
        }
        self._outer = {name: self._frame_shape(name) or shape for name, shape in self._inner.items()}
        # A picture lies on the card twice: as a frame and as the network's tensor.
        self._pictures = {n: driver.device(self._bytes(s)) for n, s in self._inner.items() if self._is_frame(n)}
        self._kernels: dict[tuple[int, int], Kernel] = {}
        sizes = [self._size(name) for name in (*spec.inputs, runner.output)]
        self._pass = Pass(driver, lanes, sizes[:-1], sizes[-1], self._work)
        self._result = torch.zeros(self._outer[runner.output])
        self.memory = runner.weights + self._context.scratch.size + 2 * sum(sizes)

    def __call__(self, *inputs: Tensor) -> Tensor:
        if inputs[0].is_cuda:
            return self._on_the_card(inputs)
        slot = self._pass.acquire()
        for name, staged, value in zip(self._spec.inputs, slot.staged, inputs, strict=True):
            self._view(name, staged).copy_(value)
        self._pass.submit(slot)
        result = self._view(self._runner.output, self._pass.collect(slot))
        return result if self._is_frame(self._runner.output) else self._result.copy_(result)

    def refit(self, weights: Mapping[str, Tensor]) -> None:
        """Replace weights between two frames; takes milliseconds. See `Runner.refit`."""
        self._runner.refit(weights, self._lanes.compute)
        self._pass.recapture()

    def _on_the_card(self, inputs: Sequence[Tensor]) -> Tensor:
        stream = self._driver.foreign_stream(torch.cuda.current_stream().cuda_stream)
        kinds = [torch.uint8 if self._is_frame(name) else self._dtype for name in self._outer]
        given = [x.to(kind).contiguous() for x, kind in zip(inputs, kinds, strict=False)]
        result = torch.empty(self._outer[self._runner.output], dtype=kinds[-1], device=inputs[0].device)
        memories = [self._driver.wrap(x.data_ptr(), x.nbytes) for x in (*given, result)]
        self._work(memories[:-1], memories[-1], stream)
        return result if self._is_frame(self._runner.output) else result.float()

    def _work(self, inputs: Sequence[Memory], output: Memory, stream: CudaStream) -> None:
        """What the card does between the copies: kernel, engine, kernel."""
        memories = dict(zip((*self._spec.inputs, self._runner.output), (*inputs, output), strict=True))
        for name in self._spec.inputs:
            if name in self._pictures:
                self._driver.launch(self._kernel("rgb_to_tensor", name, memories[name], self._pictures[name]), stream)
        self._context.enqueue(memories | self._pictures, stream)
        if self._runner.output in self._pictures:
            tensor = self._pictures[self._runner.output]
            self._driver.launch(self._kernel("tensor_to_rgb", self._runner.output, tensor, output), stream)

    def _kernel(self, kernel: str, name: str, source: Memory, to: Memory) -> Kernel:
        key = (source.pointer, to.pointer)
        if key not in self._kernels:
            if len(self._kernels) > _KERNELS_KEPT:  # tensors of others lie elsewhere every time
                self._kernels.clear()
            *_, height, width = self._inner[name]
            arguments = [source, width, height, to, width, height]
            self._kernels[key] = self._driver.kernel(kernel, (width, height), arguments)
        return self._kernels[key]

    def _is_frame(self, name: str) -> bool:
        first = next(iter(self._spec.inputs))
        return (self._spec.frame, name) in (("in", first), ("out", self._runner.output))

    def _frame_shape(self, name: str) -> tuple[int, ...] | None:
        if not self._is_frame(name):
            return None
        batch, channels, height, width = self._inner[name]
        if batch != 1:
            raise ParameterError("batch", batch, f"{self._spec.name} takes one frame at a time")
        return (batch, height, width, channels)

    def _bytes(self, shape: Sequence[int]) -> int:
        return int(np.prod(shape)) * self._dtype.itemsize

    def _size(self, name: str) -> int:
        """Bytes that are copied."""
        return int(np.prod(self._outer[name])) if self._is_frame(name) else self._bytes(self._outer[name])

    def _view(self, name: str, memory: np.ndarray) -> Tensor:
        """Copied bytes as the tensor that they are."""
        kind = torch.uint8 if self._is_frame(name) else self._dtype
        return torch.from_numpy(memory).view(kind).view(self._outer[name])
