"""Matrix products of an exported graph in fp8 (E4M3, arXiv 2209.05433), for cards of generation sm89 and later.

Every product with a constant matrix gets the matrix and the other factor rounded to fp8: one scale for each, so that
the largest entry just fits. The matrix is known; the factor's largest entry is what calibration inputs gave, so that
rare larger ones are clipped. The rest of the graph stays in half precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import NetworkSpec, Ranges

LARGEST = 448.0  # of E4M3
_OPSET, _IR = 19, 9  # the first with fp8
_PRODUCTS = ("MatMul", "Gemm")
_ROUNDS = 4
_TIMESTEPS = 999


def calibration_inputs(spec: NetworkSpec, ranges: Ranges) -> list[tuple[Tensor, ...]]:
    """Stand-ins for what the network will see: normal latents and prompts, even timesteps, at the least size."""
    generator = torch.Generator().manual_seed(0)
    sizes = {name: low for name, (low, _, _) in vars(ranges).items()}

    def made(name: str, shape: tuple[int, ...]) -> Tensor:
        if name == "timestep":
            return torch.rand(shape, generator=generator) * _TIMESTEPS
        values = torch.randn(shape, generator=generator)
        return values if len(shape) > 1 else values.abs().clamp(max=1)  # times and levels of the embedded model

    return [tuple(made(n, s).half() for n, s in spec.shapes(**sizes).items()) for _ in range(_ROUNDS)]


def to_fp8(path: Path, inputs: Iterable[Sequence[Tensor]]) -> int:
    """Rewrite the half precision graph at `path`; returns how many products are in fp8 now.

    `inputs` are like those that the network will see. Raises `ParameterError` without ONNX Runtime, which runs them.
    """
    model = onnx.load(path)
    weights = {weight.name: weight for weight in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type in _PRODUCTS and n.input[1] in weights]
    if not products:
        return 0
    largest = _largest(model, sorted({node.input[0] for node in products}), inputs)
    nodes: list[Any] = []
    done: dict[str, str] = {}
    for node in model.graph.node:
        if node in products:
            largest[node.input[1]] = float(np.abs(numpy_helper.to_array(weights[node.input[1]])).max())
            for place in (0, 1):
                name = node.input[place]
                if name not in done:
                    constants, pair = _rounding(name, max(largest[name], 1e-4) / LARGEST)
                    model.graph.initializer.extend(constants)
                    nodes += pair
                    done[name] = pair[1].output[0]
                node.input[place] = done[name]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.opset_import[0].version, model.ir_version = _OPSET, max(model.ir_version, _IR)
    _save(model, path)
    return len(products)


def _rounding(name: str, scale: float) -> tuple[list[Any], list[Any]]:
    """The constants and the two nodes that round `name` to fp8 and back."""
    constants = [
        numpy_helper.from_array(np.array(scale, np.float16), f"{name}.scale"),
        helper.make_tensor(f"{name}.zero", TensorProto.FLOAT8E4M3FN, [], [0.0]),
    ]
    step = [constant.name for constant in constants]
    return constants, [
        helper.make_node("QuantizeLinear", [name, *step], [f"{name}.fp8"]),
        helper.make_node("DequantizeLinear", [f"{name}.fp8", *step], [f"{name}.rounded"]),
    ]


def _largest(model: Any, names: Sequence[str], inputs: Iterable[Sequence[Tensor]]) -> dict[str, float]:
    """The largest absolute value of tensors inside the graph over all inputs."""
    try:
        import onnxruntime
    except ImportError:
        raise ParameterError("precision", "fp8", "calibration needs: pip install onnxruntime") from None
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    largest = dict.fromkeys(names, 0.0)
    with tempfile.TemporaryDirectory(prefix="driftcam-") as folder:
        _save(seen, Path(folder) / "seen.onnx")
        session = onnxruntime.InferenceSession(Path(folder) / "seen.onnx", providers=["CPUExecutionProvider"])
        wanted = [given.name for given in session.get_inputs()]
        for values in inputs:
            found = session.run(list(names), dict(zip(wanted, (value.numpy() for value in values), strict=True)))
            for name, value in zip(names, found, strict=True):
                largest[name] = max(largest[name], float(np.abs(value).max()))
    return largest


def _save(model: Any, path: Path) -> None:
    """Weights beside the graph where they outgrow a file of protocol buffers (2 GB)."""
    size = sum(len(weight.raw_data) for weight in model.graph.initializer)
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=size > 1_500_000_000, location=data.name)
