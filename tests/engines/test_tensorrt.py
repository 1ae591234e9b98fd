"""Engines by the real TensorRT for RTX compiler, which needs no GPU to build."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import onnx
import pytest
import torch

pytest.importorskip("onnxscript")
if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
    pytest.skip("needs: pip install 'driftcam[rtx]'", allow_module_level=True)

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.choice import tensorrt_problem
from driftcam.engines.backends.export import PRECISIONS, export_onnx
from driftcam.engines.backends.network import NetworkSpec, Ranges, image_shape
from driftcam.engines.backends.tensorrt import builder
from driftcam.engines.backends.tensorrt.build import BuildJob, build, parse_target, profile_of
from driftcam.engines.backends.tensorrt.library import PROVIDER, check_fit, load, provided_libraries
from tests.engines import engine_text
from tests.engines.conftest import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # an export takes minutes on a machine that is busy

TARGETS = ("sm75", "sm86", "sm89", "sm120")


@pytest.fixture(scope="session")
def embedded_job(embedded_onnx):
    def described(name: str, target: str = "sm89", precision: str = "fp16") -> tuple[NetworkSpec, BuildJob]:
        spec, path = embedded_onnx(name, precision)
        return spec, BuildJob(name, path, target, precision, profile_of(spec, Ranges()))

    return described


@pytest.fixture(scope="session")
def decoder(embedded_job) -> BuildJob:
    return embedded_job("decoder")[1]


def test_the_library_and_its_bindings_are_of_one_version() -> None:
    library = load()
    assert library.flavour == "tensorrt_rtx" and library.version == library.trt.__version__
    with pytest.raises(ParameterError, match="one version"):
        check_fit("libtensorrt_rtx.so.1.6.0", "1.7.1.116")
    check_fit("libtensorrt_rtx.so.1.7.1", "1.7.1.116")


def test_a_damaged_provider_is_named(tmp_path: Path) -> None:
    (tmp_path / "libcudart.so.13").write_bytes(b"")
    with pytest.raises(ParameterError, match=PROVIDER):
        provided_libraries(tmp_path)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["encoder", "velocity", "decoder"])
def test_the_embedded_networks_for_every_generation(name: str, target: str, embedded_job) -> None:
    spec, described = embedded_job(name, target)
    phases: dict[str, float] = {}
    engine = build(described, phases.__setitem__)
    weights = sum(p.numel() * PRECISIONS["fp16"].itemsize for p in spec.module.parameters())
    assert len(engine) > 0.9 * weights, spec.name
    assert phases and set(phases.values()) == {1.0}, "every phase came to its end"
    check_engine(engine, spec, described)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["encoder", "unet", "decoder"])
def test_networks_of_a_checkpoint_for_every_generation(name: str, target: str, tiny_onnx) -> None:
    spec, path = tiny_onnx("sd-turbo", name, "fp16")
    job = BuildJob(name, path, target, "fp16", profile_of(spec, SMALL))
    check_engine(build(job), spec, job)


def check_engine(engine: bytes, spec: NetworkSpec, job: BuildJob) -> None:
    """Read back from the engine itself: names, shapes, types, the profile's ranges and the target."""
    told = engine_text.read(engine)
    inputs, free = engine_text.expected(job.profile, job.precision)
    assert told.target == job.target
    assert told.inputs == inputs
    assert set(told.outputs) == {spec.output} and told.outputs[spec.output].kind == job.precision
    assert told.free == free


def test_the_parsed_network_has_the_names_shapes_and_types_of_the_spec(embedded_job) -> None:
    """Read back by TensorRT's own parser, in every precision; it opens an engine only on a machine with a driver."""
    trt = load().trt
    kinds = {"fp32": trt.float32, "fp16": trt.float16, "bf16": trt.bfloat16}
    for name, precision in (("velocity", "fp32"), ("velocity", "fp16"), ("encoder", "bf16")):
        spec, described = embedded_job(name, precision=precision)
        kind = kinds[precision]
        logger = trt.Logger(trt.Logger.ERROR)
        network = trt.Builder(logger).create_network(0)
        assert trt.OnnxParser(network, logger).parse_from_file(str(described.onnx))
        inputs = [network.get_input(k) for k in range(network.num_inputs)]
        assert [i.name for i in inputs] == list(spec.inputs)
        assert {i.dtype for i in inputs} == {kind} and network.get_output(0).dtype == kind
        assert network.get_output(0).name == spec.output
        for tensor in inputs:
            least, _, most = described.profile[tensor.name]
            assert [n == -1 for n in tensor.shape] == [a != b for a, b in zip(least, most, strict=True)]
    described = embedded_job("velocity")[1]
    assert described.profile["x"][0] == (1, 20, 32, 32) and described.profile["x"][2] == (16, 20, 128, 128)


@pytest.fixture(scope="module")
def fp8(tmp_path_factory) -> tuple[NetworkSpec, Path, Path]:
    """A network with attention's products, in half precision and in fp8."""
    torch.manual_seed(0)
    spec = NetworkSpec("mixer", Mixer().eval(), {"x": image_shape(3, 8)}, "y")
    folder = tmp_path_factory.mktemp("fp8")
    return (spec, *(export_onnx(spec, folder / f"{kind}.onnx", kind, SMALL) for kind in ("fp16", "fp8")))


class Mixer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = torch.nn.Conv2d(3, 32, 1), torch.nn.Conv2d(32, 3, 1)
        self.wide, self.narrow = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.enter(x).flatten(2).transpose(1, 2)
        rows = rows + self.narrow(torch.nn.functional.gelu(self.wide(rows)))
        return self.leave(rows.transpose(1, 2).unflatten(2, x.shape[2:]))


def test_products_in_fp8_are_close_and_stay_within_the_calibrated_range(fp8) -> None:
    """ONNX Runtime computes what the graph means, rounding to E4M3 included."""
    onnxruntime = pytest.importorskip("onnxruntime")
    spec, *paths = fp8
    x = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(7)).half().numpy()
    exact, rounded = (onnxruntime.InferenceSession(path).run(None, {"x": x})[0].astype(float) for path in paths)
    assert 1e-4 < (rounded - exact).std() / exact.std() < 0.1
    kinds = [node.op_type for node in onnx.load(paths[1]).graph.node]
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == 4
    assert spec.name == "mixer"


@pytest.mark.parametrize("target", ["sm89", "sm120"])
def test_fp8_engines_for_the_cards_that_have_it(fp8, target: str) -> None:
    spec, _, path = fp8
    assert b"e4m3" in build(BuildJob("mixer", path, target, "fp8", profile_of(spec, SMALL))).lower()


def test_a_failed_build_leaves_the_next_one_alone(decoder: BuildJob) -> None:
    """In one process TensorRT for RTX 1.7 fails for every target after the first failure."""
    impossible = BuildJob(**{**vars(decoder), "refit": ("body.0.weight",)})  # which asks for a GPU
    with pytest.raises(ParameterError, match="TensorRT could not build it for sm89"):
        build(impossible)
    assert build(decoder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "sm86", "precision": "fp8"}, "sm86 has here: fp16, bf16, fp32"),
        ({"target": "sm75", "precision": "fp32"}, "sm75 has here: fp16"),
        ({"target": "sm75", "precision": "bf16"}, "sm75 has here: fp16"),
        ({"onnx": Path("nothing.onnx")}, "cannot read its graph"),
    ],
)
def test_what_cannot_be_built_is_named(decoder: BuildJob, change: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build(BuildJob(**{**vars(decoder), **change}))


def test_an_operator_that_tensorrt_lacks_is_named(tmp_path: Path) -> None:
    shape = ["b", 3, 64, 64]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, shape) for name in ("x", "y")]
    node = onnx.helper.make_node("Frobnicate", ["x"], ["y"], domain="elsewhere")
    graph = onnx.helper.make_graph([node], "graph", ends[:1], ends[1:])
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("elsewhere", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "graph.onnx")
    profile = {"x": ((1, 3, 64, 64),) * 3}
    with pytest.raises(ParameterError, match="Frobnicate"):
        build(BuildJob("filter", tmp_path / "graph.onnx", "sm89", "fp16", profile))


def test_hopper_is_built_for_where_the_library_can_and_named_where_it_cannot(decoder: BuildJob) -> None:
    """TensorRT for RTX 1.7 has no code for H100 and H200."""
    job = BuildJob(**{**vars(decoder), "target": "sm90"})
    if hasattr(load().trt.ComputeCapability, "SM90"):
        assert engine_text.read(build(job)).target == "sm90"
        return
    with pytest.raises(ParameterError, match=r"target: 'sm90' .* H100 and H200.*torch-cuda runs on them"):
        build(job)
    assert "H100 and H200" in tensorrt_problem("sm90") and tensorrt_problem("sm89") == ""


def test_a_builder_that_dies_is_reported(decoder: BuildJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "serve", _die)
    with pytest.raises(ParameterError, match="ended without a word"):
        build(decoder)


def _die(job: BuildJob, pipe: object) -> None:
    sys.exit(3)


@pytest.mark.parametrize(
    ("text", "name"), [("SM_89", "sm89"), ("8.9", "sm89"), ("120", "sm120"), ("current", "current")]
)
def test_targets_by_their_usual_names(text: str, name: str) -> None:
    assert parse_target(text) == name


def test_an_unknown_target_lists_the_known() -> None:
    with pytest.raises(ParameterError, match="sm75, sm80, sm86, sm89, sm90, sm120"):
        parse_target("sm70")
