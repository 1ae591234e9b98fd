"""OpenVINO on the CPU, in bfloat16 where the processor has it (about twice as fast as float32)."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.properties as props
import torch
from openvino.properties import hint
from torch import Tensor

from driftcam.engines.backends import base, openvino_forms
from driftcam.engines.backends.base import (
    Cost,
    Shapes,
    choose_precision,
    count,
    examples,
    preferred,
    with_frames,
)
from driftcam.engines.backends.folders import cache_folder
from driftcam.engines.backends.identity import code_of, identity
from driftcam.engines.backends.network import NetworkSpec
from driftcam.engines.backends.progress import Progress

_TYPES = {"bf16": ov.Type.bf16, "fp32": ov.Type.f32}


@functools.cache
def _core() -> ov.Core:
    return ov.Core()


@functools.cache
def _precision() -> ov.Type:
    capabilities = _core().get_property("CPU", props.device.capabilities)
    return ov.Type.bf16 if "BF16" in capabilities else ov.Type.f32


class OpenVinoBackend:
    """OpenVINO's CPU device, `precision` for networks that ask for none."""

    name, multiple, least = "openvino", 32, 32

    def __init__(self, precision: str = "auto") -> None:
        known = ("bf16", "fp32") if _precision() == ov.Type.bf16 else ("fp32",)
        self.precisions: Sequence[str] = preferred(self.name, known, precision)

    def compile(
        self, spec: NetworkSpec, shapes: Shapes, precision: str = "auto", progress: Progress | None = None
    ) -> OpenVinoNetwork:
        """See `Backend`."""
        started = time.perf_counter()
        precision = choose_precision(self, precision)
        network = OpenVinoNetwork(spec, shapes, _TYPES[precision])
        parameters = count(spec.module)
        memory = parameters * (2 if precision == "bf16" else 4) + network.buffers
        network.cost = Cost("cpu", precision, parameters, memory, time.perf_counter() - started)
        return network

    def describe(self) -> str:
        return f"openvino {self.precisions[0]} (cpu)"


class OpenVinoNetwork:
    """A compiled graph with its own input and output buffers, so that a call allocates nothing.

    `buffers` is their size in bytes.
    """

    cost: Cost

    def __init__(self, spec: NetworkSpec, shapes: Shapes, precision: ov.Type) -> None:
        # Torch is left the small sums between the networks. Its thread pool spins after each of them, which takes
        # cores from OpenVINO's own pool and made every network half as slow again.
        torch.set_num_threads(1)
        model, inputs = _converted(spec, shapes), examples(spec, shapes)
        model.reshape({index: list(example.shape) for index, example in enumerate(inputs)})
        settings: dict = {hint.inference_precision(): precision, hint.performance_mode(): hint.PerformanceMode.LATENCY}
        if precision == ov.Type.f32:
            settings["SNIPPETS_MODE"] = "DISABLE"  # OpenVINO 2026.4 crashes when it fuses our normalisations in f32
        compiled = _core().compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._inputs = [example.numpy() for example in inputs]
        for index, array in enumerate(self._inputs):
            self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
        port = compiled.output(0)
        self._output = np.empty(tuple(port.shape), port.element_type.to_dtype())
        self._request.set_output_tensor(0, ov.Tensor(self._output, shared_memory=True))
        self._views = [torch.from_numpy(array) for array in self._inputs]
        self._result = torch.from_numpy(self._output)
        self.buffers = sum(array.nbytes for array in (*self._inputs, self._output))

    def __call__(self, *inputs: Tensor) -> Tensor:
        for view, value in zip(self._views, inputs, strict=True):
            view.copy_(value)
        self._request.infer()
        return self._result


@functools.cache
def _forms_key() -> str:
    """A graph depends on the forms of its layers and on its ends beside on what the network is."""
    sources = (code_of(module.__name__) for module in (openvino_forms, base))
    return hashlib.sha256("\n".join(sources).encode()).hexdigest()[:8]


def _converted(spec: NetworkSpec, shapes: Shapes) -> ov.Model:
    """The network as an OpenVINO graph, from the cache where there. A broken cache entry is made anew."""
    path = cache_folder() / f"{spec.name}-{identity(spec)[:16]}-{_forms_key()}-{ov.__version__.split('-')[0]}.xml"
    if spec.kept and path.exists():
        try:
            return _core().read_model(path)
        except RuntimeError:
            path.unlink(missing_ok=True)
    with torch.inference_mode():
        network = openvino_forms.for_openvino(with_frames(spec)).eval()
        model = ov.convert_model(network, example_input=tuple(examples(spec, shapes)))
    if spec.kept:
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
    except (OSError, RuntimeError):  # the second is OpenVINO's
        pass
