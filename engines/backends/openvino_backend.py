"""OpenVINO on the CPU, in bfloat16 where the processor has it (about twice as fast as float32)."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.properties as props
import torch
from openvino.properties import hint
from torch import Tensor, nn


@functools.cache
def _core() -> ov.Core:
    return ov.Core()


@functools.cache
def _precision() -> ov.Type:
    capabilities = _core().get_property("CPU", props.device.capabilities)
    return ov.Type.bf16 if "BF16" in capabilities else ov.Type.f32


def precision_name() -> str:
    return "bfloat16" if _precision() == ov.Type.bf16 else "float32"


def cache_folder() -> Path:
    """Where converted graphs are kept (`$XDG_CACHE_HOME/driftcam`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftcam"


class OpenVinoNetwork:
    """A compiled graph with its own input and output buffers, so that a call allocates nothing."""

    def __init__(self, module: nn.Module, examples: Sequence[Tensor], key: str) -> None:
        # Torch is left the small sums between the networks. Its thread pool spins after each of them, which takes
        # cores from OpenVINO's own pool and made every network half as slow again.
        torch.set_num_threads(1)
        model = _converted(module, examples, key)
        model.reshape({index: list(example.shape) for index, example in enumerate(examples)})
        settings = {hint.inference_precision(): _precision(), hint.performance_mode(): hint.PerformanceMode.LATENCY}
        compiled = _core().compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._inputs = [np.zeros(tuple(e.shape), e.numpy().dtype) for e in examples]
        for index, array in enumerate(self._inputs):
            self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
        port = compiled.output(0)
        self._output = np.empty(tuple(port.shape), port.element_type.to_dtype())
        self._request.set_output_tensor(0, ov.Tensor(self._output, shared_memory=True))
        self._views = [torch.from_numpy(array) for array in self._inputs]
        self._result = torch.from_numpy(self._output)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for view, value in zip(self._views, inputs, strict=True):
            view.copy_(value)
        self._request.infer()
        return self._result


def _converted(module: nn.Module, examples: Sequence[Tensor], key: str) -> ov.Model:
    """The module as an OpenVINO graph, from the cache where there. A broken cache entry is made anew."""
    path = cache_folder() / f"{key}-{type(module).__name__}-{ov.__version__.split('-')[0]}.xml"
    if key and path.exists():
        try:
            return _core().read_model(path)
        except RuntimeError:
            path.unlink(missing_ok=True)
    with torch.inference_mode():
        model = ov.convert_model(module.eval(), example_input=tuple(examples))
    if key:
        _save(model, path)
    return model


def _save(model: ov.Model, path: Path) -> None:
    """Write beside and rename, so that no reader sees half a file; an unwritable cache is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.stem}.{os.getpid()}.xml")
        ov.save_model(model, temporary, compress_to_fp16=False)
        temporary.with_suffix(".bin").replace(path.with_suffix(".bin"))
        temporary.replace(path)
    except OSError:
        pass
