"""Networks as ONNX graphs with free batch and picture size, for TensorRT and whoever else reads ONNX."""

from __future__ import annotations

import copy
import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import Axis, NetworkSpec, Ranges, Shape

OPSET = 18
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float16}


def export_onnx(
    spec: NetworkSpec, path: Path, precision: str = "fp32", ranges: Ranges | None = None, *, keep_weights: bool = False
) -> Path:
    """Write `spec` to `path` (weights beside it where the graph outgrows a file); returns `path`.

    With `keep_weights` every weight lies in the graph as it is in the module and under its name, not folded into
    others, so that it can be replaced later. (Weights of equal values share one name.)

    Raises:
        ParameterError: an unknown precision, or a network that the exporter cannot express.
    """
    if precision not in PRECISIONS:
        raise ParameterError("precision", precision, f"choose from: {', '.join(PRECISIONS)}")
    ranges = ranges or Ranges()
    dtype = PRECISIONS[precision]
    module = spec.module
    if any(parameter.dtype != dtype for parameter in module.parameters()):
        module = copy.deepcopy(module).to(dtype)
    # The exporter takes an axis of 1 for a constant and two equal axes for one.
    examples = spec.examples(dtype, batch=2, height=_between(ranges.height, 0), width=_between(ranges.width, 1))
    variables = {name: torch.export.Dim(name, min=low, max=high) for name, (low, _, high) in vars(ranges).items()}
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # else it names operators of libraries that nobody asked for
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
                input_names=list(spec.inputs),
                output_names=[spec.output],
                optimize=not keep_weights,
                dynamic_shapes=_dynamic(module, list(spec.inputs.values()), variables),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ParameterError(
                spec.name, type(spec.module).__name__, f"cannot be exported: {_cause(error)}"
            ) from None
    assert program is not None
    if keep_weights:
        _optimize_around_weights(program.model, set(module.state_dict()))
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path, external_data=_large(module))
    if precision == "fp8":
        from driftcam.engines.backends.fp8 import calibration_inputs, to_fp8

        to_fp8(path, calibration_inputs(spec, ranges))
    return path


def _optimize_around_weights(model: Any, names: set[str]) -> None:
    from onnxscript.optimizer import optimize_ir

    def fold(node: Any) -> bool | None:
        return False if any(value is not None and value.name in names for value in node.inputs) else None

    optimize_ir(model, should_fold=fold)


def _cause(error: BaseException) -> str:
    """The first line of what went wrong at the bottom; the exporter's own message is a page of advice to its makers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[0]


def _between(variable: tuple[int, int, int], offset: int) -> int:
    low, _, high = variable
    return min(low + offset, high)


def _large(module: nn.Module) -> bool:
    """Protocol buffers end at 2 GB."""
    return sum(p.numel() * p.element_size() for p in module.parameters()) > 1_500_000_000


def _dynamic(module: nn.Module, shapes: Sequence[Shape], variables: Mapping[str, Any]) -> tuple:
    """`dynamic_shapes` of torch.export; the inputs beyond a module's named ones are one tuple of their own."""
    axes = tuple(
        {k: variables[axis.name] * axis.per_unit if axis.per_unit > 1 else variables[axis.name]
         for k, axis in enumerate(shape) if isinstance(axis, Axis)}
        for shape in shapes
    )  # fmt: skip
    arguments = list(inspect.signature(module.forward).parameters.values())
    named = sum(argument.kind is not argument.VAR_POSITIONAL for argument in arguments)
    return (*axes[:named], axes[named:]) if named < len(arguments) and len(axes) > named else axes
