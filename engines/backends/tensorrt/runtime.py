"""A loaded engine: its weights once on the card, any number of contexts for fixed shapes, weights that can be replaced.

TensorRT's calls are those of both modules; what only TensorRT for RTX has (its runtime cache, its kernels for fixed
shapes) is used where it is there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.base import Shapes
from driftcam.engines.backends.cuda.driver import CudaStream, Driver, Memory
from driftcam.engines.backends.tensorrt.library import Library
from driftcam.engines.backends.tensorrt.memory import resident_weights


class Runner:
    """An engine on the card.

    Args:
        engine: its bytes.
        name: of the network, for messages.
        compiled: file of what TensorRT for RTX compiles for this card just in time; None keeps nothing.

    Raises:
        ParameterError: an engine for another version or card, or too little memory.
    """

    def __init__(
        self, library: Library, driver: Driver, engine: bytes, name: str, compiled: Path | None = None
    ) -> None:
        self._trt, self._driver, self._name, self._compiled = library.trt, driver, name, compiled
        driver.use()
        self._logger = library.trt.Logger(library.trt.Logger.ERROR)
        self._runtime = library.trt.Runtime(self._logger)
        self._check(engine)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise ParameterError("engine", name, "TensorRT cannot load it; build it again: driftcam engine build")
        self.output = next(n for n in self._names() if not self._is_input(n))
        self._config = self._engine.create_runtime_config()
        self._cache = self._runtime_cache()
        self._placed = False

    def context(self, shapes: Shapes) -> Context:
        """What runs the engine at `shapes`. The first one decides how much of the weights the card holds.

        Raises:
            ParameterError: a shape outside the engine's range, or too little memory; the message says how much is
                missing.
        """
        self._check_shapes(shapes)
        if not self._placed:
            self._place_weights(shapes)
        self._config.set_execution_context_allocation_strategy(
            self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        context = self._engine.create_execution_context(self._config)
        if context is None:
            raise ParameterError("engine", self._name, "TensorRT cannot make a context; is GPU memory short?")
        for name, shape in shapes.items():
            context.set_input_shape(name, shape)
        scratch = self._driver.device(max(context.update_device_memory_size_for_shapes(), 1))
        context.set_device_memory(scratch.pointer, scratch.size)
        return Context(context, self._driver, self._name, scratch)

    def refit(self, weights: Mapping[str, Tensor], stream: CudaStream) -> None:
        """Replace weights by name, in the order of `stream`, on which alone the engine runs: what is enqueued later has
        the new ones. Their values lie in the computer's memory and are not needed afterwards.

        Raises:
            ParameterError: the engine was not built for it, or has no such weight; nothing was replaced.
        """
        if not self._engine.refittable:
            raise ParameterError("weights", self._name, "it was built without --refit")
        refitter = self._trt.Refitter(self._engine, self._logger)
        unknown = sorted(set(weights) - set(refitter.get_all_weights()))
        if unknown:
            raise ParameterError("weights", self._name, f"{unknown[0]!r} is not in its graph; build it again")
        kept = []  # TensorRT is given addresses
        for name, value in weights.items():
            kind = refitter.get_weights_prototype(name).dtype
            kept.append(value.detach().to("cpu", self._torch_type(kind)).contiguous())
            if not refitter.set_named_weights(name, self._trt.Weights(kind, kept[-1].data_ptr(), kept[-1].numel())):
                raise ParameterError("weights", f"{name} of {self._name}", "its shape is not the engine's")
        if not refitter.refit_cuda_engine_async(self._driver.handle(stream)):
            raise ParameterError("weights", self._name, "TensorRT refused them; build the engine again")

    def _torch_type(self, kind: Any) -> torch.dtype:
        trt = self._trt
        return {trt.float16: torch.float16, trt.bfloat16: torch.bfloat16}.get(kind, torch.float32)

    @property
    def weights(self) -> int:
        """Bytes of the engine's weights on the card."""
        return self._engine.weight_streaming_budget_v2

    def keep_compiled(self) -> None:
        """Write what was compiled just in time to the file, so that the next start is quick."""
        if self._cache is None or self._compiled is None:
            return
        try:
            self._compiled.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._compiled.with_name(f"{self._compiled.name}.{os.getpid()}.tmp")
            temporary.write_bytes(bytes(self._cache.serialize()))
            temporary.replace(self._compiled)
        except OSError:
            pass  # an unwritable cache is no error

    def _names(self) -> list[str]:
        return [self._engine.get_tensor_name(k) for k in range(self._engine.num_io_tensors)]

    def _is_input(self, name: str) -> bool:
        return self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT

    def _check(self, engine: bytes) -> None:
        """Ask the engine's header whether it runs here, which TensorRT for RTX can."""
        if not hasattr(self._runtime, "get_engine_validity"):
            return
        validity, why = self._runtime.get_engine_validity(engine[: self._runtime.engine_header_size])
        if validity == self._trt.EngineValidity.INVALID:
            raise ParameterError("engine", self._name, invalid_advice(self._trt, int(why)))

    def _check_shapes(self, shapes: Shapes) -> None:
        for name, shape in shapes.items():
            least, _, most = self._engine.get_tensor_profile_shape(name, 0)
            if not all(low <= n <= high for low, n, high in zip(least, shape, most, strict=True)):
                given = "×".join(map(str, shape))
                advice = f"the engine takes {'×'.join(map(str, least))} to {'×'.join(map(str, most))}"
                raise ParameterError("size", f"{given} for {name} of {self._name}", advice)

    def _place_weights(self, shapes: Shapes) -> None:
        """Keep as much of the weights on the card as leaves room for the work; the rest is streamed beside it."""
        budget = resident_weights(
            free=self._driver.free_memory(),
            weights=self._engine.streamable_weights_size,
            scratch=self._engine.get_device_memory_size_for_profile_v2(0),
            largest=pixels({name: tuple(self._engine.get_tensor_profile_shape(name, 0)[2]) for name in shapes}),
            wanted=pixels(shapes),
            network=self._name,
        )
        self._engine.weight_streaming_budget_v2 = budget
        self._placed = True

    def _runtime_cache(self) -> Any:
        if not hasattr(self._config, "create_runtime_cache"):
            return None
        # Kernels for the exact shapes are ready before the first frame, or a graph would keep the general ones.
        self._config.dynamic_shapes_kernel_specialization_strategy = (
            self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        cache = self._config.create_runtime_cache()
        if self._compiled is not None and self._compiled.is_file():
            cache.deserialize(self._compiled.read_bytes())  # of another card or version: it stays empty
        self._config.set_runtime_cache(cache)
        return cache


class Context:
    """The engine at fixed shapes. `scratch` is its working memory."""

    def __init__(self, context: Any, driver: Driver, name: str, scratch: Memory) -> None:
        self._context, self._driver, self._name, self.scratch = context, driver, name, scratch

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an input or the output."""
        return tuple(self._context.get_tensor_shape(name))

    def enqueue(self, memories: Mapping[str, Memory], stream: CudaStream) -> None:
        """Run on `stream` with inputs and output in `memories`."""
        for name, memory in memories.items():
            self._context.set_tensor_address(name, memory.pointer)
        if not self._context.execute_async_v3(self._driver.handle(stream)):
            raise RuntimeError(f"TensorRT could not run {self._name}")


def pixels(shapes: Shapes) -> int:
    """How much work shapes mean: the elements of the largest input."""
    return max(int(np.prod(shape)) for shape in shapes.values())


def invalid_advice(trt: Any, diagnostics: int) -> str:
    """What an engine that does not run here lacks; `diagnostics` are bits of `EngineInvalidityDiagnostics`."""
    kinds = trt.EngineInvalidityDiagnostics
    advice: list[tuple[Any, str]] = [
        (kinds.VERSION_MISMATCH, "it was built by another version of TensorRT; driftcam engine prune, then build it"),
        (kinds.UNSUPPORTED_CC, "it was built for another generation of cards; build it with --target current"),
        (kinds.OLD_CUDA_DRIVER, "the driver is too old for it; update it to 580 or later"),
        (kinds.OLD_CUDA_RUNTIME, "the CUDA runtime is too old for it; reinstall with: pip install 'driftcam[rtx]'"),
        (kinds.INSUFFICIENT_GPU_MEMORY, "the card has too little memory for it; choose a smaller size or model"),
        (kinds.MALFORMED_ENGINE, "it is damaged; driftcam engine verify"),
        (kinds.CUDA_ERROR, "the driver does not answer; see: driftcam doctor"),
    ]
    reasons = [text for kind, text in advice if diagnostics & int(kind)]
    return reasons[0] if reasons else "it does not run on this machine; build it again: driftcam engine build"
