"""Networks as ONNX graphs with free batch and picture size, for TensorRT and whoever else reads ONNX."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import BATCH, Axis, NetworkSpec, Ranges, Shape, picture

OPSET = 18
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float16}
TOKENS = 77  # of a CLIP prompt
XL_TIME_IDS = 6


class _Unet(nn.Module):
    """A diffusers UNet with positional inputs; SDXL's added conditions and a ControlNet's residuals where given."""

    def __init__(self, unet: nn.Module, xl: bool, residuals: int) -> None:
        super().__init__()
        self.unet, self.xl, self.residuals = unet, xl, residuals

    def forward(self, sample: Tensor, timestep: Tensor, prompt: Tensor, *rest: Tensor) -> Tensor:
        options: dict[str, Any] = {}
        if self.xl:
            text, time_ids, *rest_list = rest
            options["added_cond_kwargs"] = {"text_embeds": text, "time_ids": time_ids}
        else:
            rest_list = list(rest)
        if self.residuals:
            options["down_block_additional_residuals"] = tuple(rest_list[:-1])
            options["mid_block_additional_residual"] = rest_list[-1]
        return self.unet(sample, timestep, prompt, return_dict=False, **options)[0]


class _VaeEncoder(nn.Module):
    """Pixels to the mean latent (before the scaling factor)."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor) -> Tensor:
        coded = self.vae.encode(pixels, return_dict=False)[0]  # type: ignore[operator]
        return coded.mean if hasattr(coded, "mean") and not isinstance(coded, Tensor) else coded


class _VaeDecoder(nn.Module):
    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor) -> Tensor:
        return self.vae.decode(latent, return_dict=False)[0]  # type: ignore[operator]


def checkpoint_specs(unet: Any, vae: Any, *, residuals: bool = False) -> list[NetworkSpec]:
    """Autoencoder and UNet of a Stable-Diffusion-class checkpoint (diffusers modules).

    With `residuals` the UNet also takes what a ControlNet adds to its skip connections and its middle.
    """
    config = unet.config
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    latent = picture(config.in_channels, scale)
    xl = config.addition_embed_type == "text_time"
    inputs: dict[str, Shape] = {
        "sample": latent,
        "timestep": (BATCH,),
        "prompt": (BATCH, TOKENS, config.cross_attention_dim),
    }
    if xl:
        text = config.projection_class_embeddings_input_dim - XL_TIME_IDS * config.addition_time_embed_dim
        inputs |= {"text": (BATCH, text), "time_ids": (BATCH, XL_TIME_IDS)}
    extra = residual_shapes(config, scale) if residuals else []
    inputs |= {f"down_{k}": shape for k, shape in enumerate(extra[:-1])}
    if extra:
        inputs["mid"] = extra[-1]
    return [
        NetworkSpec("encoder", _VaeEncoder(vae).eval(), {"pixels": picture(3)}, "latent"),
        NetworkSpec("unet", _Unet(unet, xl, len(extra)).eval(), inputs, "prediction"),
        NetworkSpec("decoder", _VaeDecoder(vae).eval(), {"latent": latent}, "pixels"),
    ]


def residual_shapes(config: Any, scale: int) -> list[Shape]:
    """What a ControlNet (arXiv 2302.05543) adds: one for each skip connection, then the middle."""
    widths, layers = config.block_out_channels, config.layers_per_block
    counts = [layers] * len(widths) if isinstance(layers, int) else list(layers)
    shapes, stride = [picture(widths[0], scale)], scale
    for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
        shapes += [picture(width, stride)] * count
        if level < len(widths) - 1:
            stride *= 2
            shapes.append(picture(width, stride))
    return [*shapes, picture(widths[-1], stride)]


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
    examples = spec.examples(dtype, batch=2, rows=_between(ranges.rows, 0), columns=_between(ranges.columns, 1))
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
    return (*axes[:3], axes[3:]) if len(axes) > 3 and isinstance(module, _Unet) else axes
