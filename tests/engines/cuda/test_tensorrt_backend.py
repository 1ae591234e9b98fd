"""The TensorRT backend from frame to frame on a simulated card: the real kernels' source, streams in random order."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest
import torch

from driftcam import Engine, Parameters
from driftcam.engines import backends
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.folders import engines_folder
from driftcam.engines.backends.network import NetworkSpec, Ranges, image_shape
from driftcam.engines.backends.tensorrt.backend import TensorRtBackend
from driftcam.engines.backends.tensorrt.cache import EngineCache
from driftcam.engines.backends.tensorrt.memory import RESERVE, resident_weights
from driftcam.engines.backends.tensorrt.prepare import key_of
from driftcam.engines.backends.torch_backend import TorchBackend
from driftcam.engines.doctor import card as gpu
from driftcam.engines.doctor.selftest import random_inputs
from driftcam.engines.models.embedded.model import embedded_specs
from tests.engines.cuda.simulated import SimulatedDriver
from tests.engines.cuda.simulated_tensorrt import Diagnostics, SimulatedTensorRt
from tests.engines.test_backends import RTX, forget

SIZES = {"batch": 1, "height": 4, "width": 5}


@pytest.fixture
def simulated(shim, tmp_path, monkeypatch) -> tuple[TensorRtBackend, SimulatedTensorRt]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    driver = SimulatedDriver(shim, seed=1)
    trt = SimulatedTensorRt(driver)
    return TensorRtBackend(driver, trt.library, trt.build), trt


@pytest.mark.parametrize("index", [0, 1, 2], ids=["encoder", "velocity", "decoder"])
def test_networks_give_what_torch_gives(simulated, index: int) -> None:
    """Frames pass through our kernels, tensors through half precision; three calls see both slots and the graph."""
    backend, _ = simulated
    spec = embedded_specs()[index]
    ours, reference = (b.compile(spec, spec.shapes(**SIZES)) for b in (backend, TorchBackend()))
    for seed in range(6):
        inputs = random_inputs(spec, SIZES, seed)
        result, expected = ours(*inputs), reference(*inputs)
        assert result.shape == expected.shape and result.dtype == expected.dtype
        tolerance = 1 if spec.frame == "out" else 2e-2 * expected.abs().max()
        assert (result.float() - expected.float()).abs().max() <= tolerance
    assert backend.driver.replays == 4
    assert ours.cost.memory > ours.cost.parameters * 2 and ours.cost.precision == "fp16"


@pytest.mark.parametrize("index", [0, 2], ids=["encoder", "decoder"])
def test_autoencoders_that_overflow_in_half_precision_run_in_single(simulated, index: int) -> None:
    """SDXL's does. Our kernels know half precision, so the processor converts the frames."""
    backend, _ = simulated
    spec = embedded_specs()[index]
    ours, reference = (b.compile(spec, spec.shapes(**SIZES), "fp32") for b in (backend, TorchBackend()))
    inputs = random_inputs(spec, SIZES)
    for _ in range(3):
        assert (ours(*inputs).float() - reference(*inputs).float()).abs().max() < 1e-3
    assert ours.cost.precision == "fp32" and backend.driver.launches == 0


def test_engines_of_one_name_are_told_apart_by_weights_and_leave_with_their_last_network(simulated) -> None:
    backend, trt = simulated
    first = gpu.filter_spec()
    other = gpu.filter_spec()
    with torch.no_grad():
        other.module.layer.bias.add_(1)
    inputs = first.examples(torch.float32, **SIZES)
    networks = [backend.compile(spec, spec.shapes(**SIZES)) for spec in (first, other, gpu.filter_spec())]
    a, b, c = (network(*inputs).clone() for network in networks)
    assert trt.built == ["filter", "filter"] and torch.equal(a, c) and not torch.equal(a, b)
    assert len(backend._runners) == 2
    networks.clear()
    gc.collect()
    assert len(backend._runners) == 0


def test_a_live_change_of_size_builds_nothing(simulated, monkeypatch) -> None:
    """The engine's stream from camera frame to stylised frame, at two sizes, with the same engines."""
    backend, trt = simulated
    monkeypatch.setattr(backends, "_open", lambda name, *_: backend if name == "tensorrt" else TorchBackend())
    forget()
    parameters = Parameters(width=256, height=256, noise="fixed", similarity_threshold=0)
    frame = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8).repeat(40, 0).repeat(40, 1)
    monkeypatch.setattr("driftcam.engines.backends.gather", lambda device: backends.choice.Facts(RTX, "", ""))
    ours, reference = (Engine(parameters, backend=name) for name in ("tensorrt", "torch"))
    assert np.abs(ours.step(frame).astype(int) - reference.step(frame)).mean() < 1
    assert trt.built == ["encoder", "decoder", "velocity"]
    ours._models._progress("tactics", 0.25)
    assert ours.report()["building"] == {"phase": "tactics", "share": 0.25}
    ours.update(parameters.replace(width=320, height=200))  # which is no multiple of 64 and less than the least
    for _ in range(200):
        result = ours.step(frame)
        if result.shape == (200, 320, 3):
            break
    assert trt.phases == ["tactics"] * 3 and ours.report()["building"] is None
    assert result.shape == (200, 320, 3) and trt.built == ["encoder", "decoder", "velocity"]
    forget()


def test_an_engine_that_was_built_ahead_for_the_size_and_rows_is_the_one_that_runs(simulated) -> None:
    """`driftcam engine build --sizes 256-320 --batch 1-2 --refit`; a larger batch takes what holds it."""
    backend, trt = simulated
    spec = embedded_specs()[1]
    ahead = [Ranges(batch, side, side) for batch, side in (((1, 1, 2), (4, 4, 5)), ((1, 1, 4), (4, 4, 8)))]
    for ranges, refit in zip(ahead, (True, False), strict=True):
        key = key_of(spec, "sm89", "fp16", ranges=ranges, refit=refit, library=trt.library)
        trt.build(spec, key, EngineCache(engines_folder()))
    small, larger, largest = (backend.compile(spec, spec.shapes(**SIZES | {"batch": n})) for n in (2, 4, 8))
    assert [key.ranges for key in trt.keys] == [*ahead, Ranges()], "only for eight rows one had to be built"
    assert {key.ranges for key in backend._runners} == {*ahead, Ranges()}
    inputs = random_inputs(spec, SIZES | {"batch": 2})
    reference = TorchBackend().compile(spec, spec.shapes(**SIZES))(*inputs)
    assert (small(*inputs) - reference).abs().max() <= 2e-2 * reference.abs().max()
    bf16 = key_of(spec, "sm89", "bf16", ranges=ahead[0], library=trt.library)
    trt.build(spec, bf16, EngineCache(engines_folder()))
    assert backend.compile(spec, spec.shapes(**SIZES), "bf16").cost.precision == "bf16"
    assert trt.keys[-1] == bf16 and len(trt.keys) == 4 and larger is not largest


def test_the_checks_for_a_card_pass_on_the_simulated_one_and_see_faults(simulated, monkeypatch) -> None:
    """`driftcam doctor --full` on a user's machine runs these; here on the simulated card."""
    backend, trt = simulated
    assert "alpha kept" in gpu.check_frames(backend.driver)
    assert "1024x1024" in gpu.check_sizes(backend) and trt.built == ["filter"]
    assert "given back" in gpu.check_memory(backend)
    assert " ms" in gpu.check_weights(backend)
    free = iter([8 << 30, 7 << 30])
    monkeypatch.setattr(backend.driver, "free_memory", lambda: next(free))
    monkeypatch.setattr(gpu, "_compare", lambda *_: None)
    with pytest.raises(ValueError, match="1074 MB are never given back"):
        gpu.check_memory(backend)
    monkeypatch.setattr(backend.driver, "launch", lambda kernel, stream: None)
    with pytest.raises(ValueError, match="the tensor differs"):
        gpu.check_frames(backend.driver)


def test_refitted_weights_count_from_the_next_call(simulated) -> None:
    backend, _ = simulated
    module = torch.nn.Conv2d(3, 3, 1).eval()
    spec = NetworkSpec("filter", copy.deepcopy(module), {"x": image_shape(3)}, "y")
    network = backend.compile(spec, spec.shapes(**SIZES))
    (x,) = spec.examples(torch.float32, **SIZES)
    before = [network(x).clone() for _ in range(3)][-1]
    with torch.no_grad():
        module.weight += 0.5
    network.refit({"weight": module.weight})
    after = [network(x).clone() for _ in range(3)]
    with torch.inference_mode():
        expected = module(x)
    assert all((result - expected).abs().max() < 5e-3 for result in after) and (before - expected).abs().max() > 0.1
    with pytest.raises(ParameterError, match="'other' is not in its graph"):
        network.refit({"other": module.weight})
    with pytest.raises(ParameterError, match="shape"):
        network.refit({"bias": module.weight})


def test_an_engine_that_was_not_built_for_it_says_so(shim, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    driver = SimulatedDriver(shim)
    trt = SimulatedTensorRt(driver, refittable=False)
    spec = embedded_specs()[0]
    network = TensorRtBackend(driver, trt.library, trt.build).compile(spec, spec.shapes(**SIZES))
    with pytest.raises(ParameterError, match="--refit"):
        network.refit({"body.1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("diagnostics", "message"),
    [
        (Diagnostics.VERSION_MISMATCH, "another version of TensorRT"),
        (Diagnostics.UNSUPPORTED_CC, "another generation"),
        (Diagnostics.OLD_CUDA_DRIVER, "update it to 580"),
        (Diagnostics.INSUFFICIENT_GPU_MEMORY, "smaller size or model"),
        (Diagnostics.MALFORMED_ENGINE | Diagnostics.CUDA_ERROR, "damaged"),
    ],
)
def test_an_engine_that_does_not_run_here_says_why(simulated, diagnostics: Diagnostics, message: str) -> None:
    backend, trt = simulated
    trt.diagnostics = int(diagnostics)
    spec = embedded_specs()[0]
    with pytest.raises(ParameterError, match=message):
        backend.compile(spec, spec.shapes(**SIZES))


@pytest.mark.parametrize("height", [3, 17])
def test_a_size_out_of_range_names_the_range(simulated, height: int) -> None:
    backend, _ = simulated
    spec = embedded_specs()[0]
    with pytest.raises(ParameterError, match="1×3×256×256 to 16×3×1024×1024"):
        backend.compile(spec, spec.shapes(batch=1, height=height, width=4))


def test_weights_stay_on_the_card_as_far_as_there_is_room() -> None:
    ask = {"weights": 1000 << 20, "scratch": 400 << 20, "largest": 4, "wanted": 1, "network": "unet"}
    assert resident_weights(free=8 << 30, **ask) == 1000 << 20
    half = resident_weights(free=RESERVE + (600 << 20), **ask)
    assert half == 500 << 20, "a quarter of the scratch is taken first"


def test_too_little_memory_says_how_much_is_missing_and_what_fits() -> None:
    ask = {"weights": 1000, "scratch": 400_000_000, "largest": 4, "wanted": 4, "network": "unet"}
    with pytest.raises(ParameterError, match=r"unet: 300 MB are missing .* at most 50% of this on each side"):
        resident_weights(free=RESERVE + 100_000_000, **ask)
    with pytest.raises(ParameterError, match="close other programs"):
        resident_weights(free=1000, **ask)


def test_a_small_card_is_refused_before_the_first_context(simulated) -> None:
    backend, trt = simulated
    trt.driver._memory = RESERVE // 2
    spec = embedded_specs()[1]
    with pytest.raises(ParameterError, match="MB are missing"):
        backend.compile(spec, spec.shapes(**SIZES))
