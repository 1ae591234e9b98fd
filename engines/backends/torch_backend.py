"""Eager torch: the reference in single precision on the CPU, and half precision on a CUDA device."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from driftcam.engines.backends.base import Cost, Shapes, choose_precision, count, preferred, with_frames
from driftcam.engines.backends.network import NetworkSpec
from driftcam.engines.backends.progress import Progress

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """`device` as torch spells it, `precision` for networks that ask for none."""

    multiple, least = 32, 32

    def __init__(self, device: str = "cpu", precision: str = "auto") -> None:
        self.device = torch.device(device)
        self.name = "torch" if self.device.type == "cpu" else "torch-cuda"
        known = ("fp32", "bf16") if self.device.type == "cpu" else ("fp16", "bf16", "fp32")
        self.precisions: Sequence[str] = preferred(self.name, known, precision)

    def compile(
        self, spec: NetworkSpec, shapes: Shapes, precision: str = "auto", progress: Progress | None = None
    ) -> TorchNetwork:
        """See `Backend`; eager torch takes every shape."""
        started = time.perf_counter()
        precision = choose_precision(self, precision)
        dtype = _DTYPES[precision]
        network = TorchNetwork(with_frames(spec, dtype), self.device, dtype)
        parameters = count(spec.module)
        taken = time.perf_counter() - started
        network.cost = Cost(str(self.device), precision, parameters, parameters * dtype.itemsize, taken)
        return network

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return f"{self.name} {self.precisions[0]} ({name})"


class TorchNetwork:
    """Calls the module without gradients."""

    cost: Cost

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._module = module.eval()
        if device.type != "cpu" or dtype != torch.float32:
            self._module = copy.deepcopy(module).to(device, dtype)

    def __call__(self, *inputs: Tensor) -> Tensor:
        moved = (x.to(self._device, self._dtype if x.is_floating_point() else x.dtype) for x in inputs)
        with torch.inference_mode():
            result = self._module(*moved).to(inputs[0].device)
        return result.float() if result.is_floating_point() else result
