"""Networks as ONNX graphs: what ONNX Runtime computes from them is what torch computes, at sizes of one's choice."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("diffusers")

import onnx
import onnxruntime

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.export import export_onnx
from driftcam.engines.backends.network import NetworkSpec, Ranges, image_shape
from driftcam.engines.models.embedded.model import embedded_specs
from driftcam.engines.models.stable_diffusion.specs import checkpoint_specs
from tests.engines.conftest import SMALL
from tests.engines.test_checkpoints import LAYOUTS, tiny_unet, tiny_vae

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # an export takes minutes on a machine that is busy

# Largest difference over the largest value of the reference.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2}


def run(path: Path, spec: NetworkSpec, inputs: tuple[torch.Tensor, ...]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(spec.inputs)
    (output,) = session.run([spec.output], {name: x.numpy() for name, x in zip(spec.inputs, inputs, strict=True)})
    return output


def difference(path: Path, spec: NetworkSpec, precision: str, **sizes: int) -> float:
    """Against torch in single precision."""
    dtype = {"fp32": torch.float32, "fp16": torch.float16}[precision]
    inputs = spec.examples(dtype, seed=1, **sizes)
    with torch.inference_mode():
        expected = spec.module.float()(*(x.float() for x in inputs)).numpy()
    ours = run(path, spec, inputs)
    assert ours.shape == expected.shape
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["encoder", "velocity", "decoder"])
def test_the_embedded_networks(name: str, precision: str, embedded_onnx) -> None:
    spec, path = embedded_onnx(name, precision)
    for sizes in ({"batch": 1, "height": 4, "width": 5}, {"batch": 3, "height": 6, "width": 4}):
        assert difference(path, spec, precision, **sizes) <= TOLERANCE[precision]


@pytest.mark.parametrize("name", ["encoder", "decoder", "sd15", "sd-turbo", "sdxl-turbo"])
def test_checkpoints_of_every_layout(name: str, tiny_onnx) -> None:
    spec, path = tiny_onnx(name, "unet") if name in LAYOUTS else tiny_onnx("sd15", name)
    for sizes in ({"batch": 1, "height": 3, "width": 2}, {"batch": 2, "height": 4, "width": 3}):
        assert difference(path, spec, "fp32", **sizes) <= TOLERANCE["fp32"]


def test_the_tiny_autoencoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, _, decoder = checkpoint_specs(tiny_unet("sd15").eval(), tiny_vae().eval())
    for spec in (encoder, decoder):
        path = export_onnx(spec, tmp_path / f"{spec.name}.onnx", "fp32", SMALL)
        assert difference(path, spec, "fp32", batch=2, height=2, width=4) <= TOLERANCE["fp32"]


class Kinds(nn.Module):
    """A layer of every kind that the exporter would fold into something else."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8)
        self.mix, self.layer_norm = nn.Linear(8, 8, bias=False), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.norm(self.enter(x)).flatten(2).transpose(1, 2)
        return self.mix(self.layer_norm(rows)).transpose(1, 2).unflatten(2, x.shape[2:])


def test_kept_weights_lie_in_the_graph_by_their_names_and_the_graph_is_the_same(tmp_path: Path) -> None:
    """What a refit needs. Equal weights would share a name, so all get values of their own, as trained ones have."""
    torch.manual_seed(0)
    spec = NetworkSpec("kinds", Kinds().eval(), {"x": image_shape(3)}, "y")
    for weight in spec.module.parameters():
        nn.init.normal_(weight)
    path = export_onnx(spec, tmp_path / "kinds.onnx", "fp32", SMALL, keep_weights=True)
    assert {weight.name for weight in onnx.load(path).graph.initializer} >= set(spec.module.state_dict())
    assert difference(path, spec, "fp32", batch=2, height=3, width=2) <= TOLERANCE["fp32"]


class Erf(nn.Module):
    """An operator that ONNX does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    spec = NetworkSpec("filter", Erf(), {"x": image_shape(3)}, "y")
    with warnings.catch_warnings(), pytest.raises(ParameterError, match="filter"):
        warnings.simplefilter("ignore")
        export_onnx(spec, tmp_path / "x.onnx")
    with pytest.raises(ParameterError, match="fp64"):
        export_onnx(embedded_specs()[0], tmp_path / "x.onnx", "fp64")
    with pytest.raises(ParameterError, match="height"):
        Ranges(height=(4, 2, 8))
