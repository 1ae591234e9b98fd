"""TensorRT's runtime on the simulated card: an engine is a network of torch that computes in single precision."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from enum import Enum, IntFlag
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from driftcam.engines.backends.network import NetworkSpec, Ranges
from driftcam.engines.backends.tensorrt.build import profile_of
from driftcam.engines.backends.tensorrt.cache import EngineCache, EngineKey
from driftcam.engines.backends.tensorrt.library import Library
from tests.engines.cuda.simulated import SimulatedDriver, Work


class DataType(Enum):
    HALF, FLOAT, BF16 = range(3)


class Mode(Enum):
    INPUT, OUTPUT = range(2)


class Validity(Enum):
    VALID, SUBOPTIMAL, INVALID = range(3)


class Diagnostics(IntFlag):
    VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER, OLD_CUDA_RUNTIME = 1, 2, 4, 8
    INSUFFICIENT_GPU_MEMORY, MALFORMED_ENGINE, CUDA_ERROR = 16, 32, 64


class SimulatedTensorRt:
    """`build` stands for `engines.backends.tensorrt.prepare.prepare`; `library` is what `Runner` is given.

    Attributes:
        built, keys: the names of the networks, and of what, in the order in which they were built.
        diagnostics: what the header of an engine says, 0 for a good one.
        scratch: bytes of working memory for the largest picture.
    """

    def __init__(self, driver: SimulatedDriver, *, refittable: bool = True, scratch: int = 1 << 20) -> None:
        self.driver, self.refittable, self.scratch, self.diagnostics = driver, refittable, scratch, 0
        self.built: list[str] = []
        self.phases: list[str] = []
        self.keys: list[EngineKey] = []
        self._specs: dict[bytes, tuple[NetworkSpec, Ranges]] = {}
        self.library = Library(self._module(), "tensorrt_rtx", "1.7-simulated")

    def build(self, spec: NetworkSpec, key: EngineKey, cache: EngineCache, progress: Any = None, **_: Any) -> bytes:
        def make() -> bytes:
            self.built.append(spec.name)
            self.keys.append(key)
            if progress is not None:
                self.phases.append("tactics")
                progress("tactics", 1.0)
            return f"{len(self.built)} {spec.name} {key.target} {key.precision}".ljust(64).encode()

        engine = cache.get(key, make)
        self._specs[engine] = spec, key.ranges
        return engine

    def _module(self) -> SimpleNamespace:
        logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
        return SimpleNamespace(
            Logger=logger,
            Runtime=lambda logger: SimpleNamespace(
                engine_header_size=64,
                get_engine_validity=lambda header: (
                    Validity.INVALID if self.diagnostics else Validity.VALID,
                    self.diagnostics,
                ),
                deserialize_cuda_engine=lambda engine: Engine(self, *self._specs[engine], b"fp32" in engine),
            ),
            Refitter=lambda engine, logger: Refitter(engine),
            Weights=lambda kind, pointer, count: (kind, pointer, count),
            TensorIOMode=Mode,
            EngineValidity=Validity,
            EngineInvalidityDiagnostics=Diagnostics,
            ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=2),
            DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER=1),
            float16=DataType.HALF,
            bfloat16=DataType.BF16,
        )


class Engine:
    def __init__(self, trt: SimulatedTensorRt, spec: NetworkSpec, ranges: Ranges, wide: bool) -> None:
        self.dtype = np.dtype(np.float32 if wide else np.float16)
        self.trt, self.spec = trt, spec
        self.profile = profile_of(spec, ranges)
        self.names = [*spec.inputs, spec.output]
        self.num_io_tensors = len(self.names)
        self.refittable = trt.refittable
        self.streamable_weights_size = sum(2 * p.numel() for p in spec.module.parameters())
        self.weight_streaming_budget_v2 = -1

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.OUTPUT if name == self.spec.output else Mode.INPUT

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple:
        return self.profile[name]

    def get_device_memory_size_for_profile_v2(self, profile: int) -> int:
        return self.trt.scratch

    def create_runtime_config(self) -> Any:
        cache = SimpleNamespace(deserialize=lambda blob: True, serialize=lambda: b"compiled")
        return SimpleNamespace(
            create_runtime_cache=lambda: cache,
            set_runtime_cache=lambda cache: None,
            set_execution_context_allocation_strategy=lambda strategy: None,
        )

    def create_execution_context(self, config: Any) -> Context:
        assert self.weight_streaming_budget_v2 >= 0, "decided before the first context"
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._driver = engine, engine.trt.driver
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self._shapes[name] = shape

    def update_device_memory_size_for_shapes(self) -> int:
        return 1000

    def set_device_memory(self, pointer: int, size: int) -> None:
        self._scratch = self._driver.at(pointer)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name not in self._shapes:
            zeros = [torch.zeros(self._shapes[n]) for n in self._engine.spec.inputs]
            with torch.inference_mode():
                self._shapes[name] = tuple(self._engine.spec.module(*zeros).shape)
        return self._shapes[name]

    def set_tensor_address(self, name: str, pointer: int) -> None:
        self._addresses[name] = pointer

    def execute_async_v3(self, handle: int) -> bool:
        spec, memory = self._engine.spec, {n: self._driver.at(p) for n, p in self._addresses.items()}
        inputs = [memory[name] for name in spec.inputs]

        def run() -> None:
            values = [torch.from_numpy(self._array(memory, n)).float() for n in spec.inputs]
            with torch.inference_mode():
                self._array(memory, spec.output)[:] = spec.module(*values).numpy()

        work = Work([*inputs, self._scratch], [memory[spec.output], self._scratch], run)
        self._driver.enqueue(self._driver.by_handle(handle), work)
        return True

    def _array(self, memory: Mapping[str, Any], name: str) -> np.ndarray:
        shape = self.get_tensor_shape(name)
        dtype = self._engine.dtype
        return memory[name].host[: dtype.itemsize * int(np.prod(shape))].view(dtype).reshape(shape)


class Refitter:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._new = engine, {}
        self._old = dict(engine.spec.module.named_parameters())

    def get_all_weights(self) -> list[str]:
        return list(self._old)

    def get_weights_prototype(self, name: str) -> Any:
        return SimpleNamespace(dtype=DataType.HALF)

    def set_named_weights(self, name: str, weights: tuple) -> bool:
        kind, pointer, count = weights
        assert kind == DataType.HALF
        if count != self._old[name].numel():
            return False
        self._new[name] = torch.tensor(
            np.ctypeslib.as_array((ctypes.c_uint16 * count).from_address(pointer)).view(np.float16)
        )
        return True

    def refit_cuda_engine_async(self, handle: int) -> bool:
        def run() -> None:
            with torch.no_grad():
                for name, value in self._new.items():
                    self._old[name].copy_(value.view_as(self._old[name]))

        driver = self._engine.trt.driver
        driver.enqueue(driver.by_handle(handle), Work([], [], run))
        return True
