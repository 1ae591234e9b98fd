"""What only a card can show: our kernels, one engine for all sizes, weights replaced in place, memory given back.

The same checks are the tests with the mark `gpu`.
"""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from driftcam.engines.api.findings import Finding
from driftcam.engines.backends.cuda.driver import Driver
from driftcam.engines.backends.network import NetworkSpec, image_shape
from driftcam.engines.backends.tensorrt.backend import TensorRtBackend
from driftcam.engines.backends.torch_backend import TorchBackend
from driftcam.engines.doctor.tolerance import TOLERANCE

HALF_STEP = 2**-10  # of fp16 numbers from .5 to 1
_ODD = (37, 53)  # pixels
_LEFT = 64 << 20  # bytes that libraries may keep for themselves


class _Filter(nn.Module):
    """Small enough to be built in seconds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def filter_spec() -> NetworkSpec:
    return NetworkSpec("filter", _Filter().eval(), {"x": image_shape(3)}, "y")


def try_card(backend: TensorRtBackend) -> list[Finding]:
    """Every check; one that raises is a bad finding, with its reason."""
    checks: dict[str, Callable[[], str]] = {
        "frames": lambda: check_frames(backend.driver),
        "sizes": lambda: check_sizes(backend),
        "memory": lambda: check_memory(backend),
        "weights": lambda: check_weights(TensorRtBackend(refit=True)),
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(Finding(f"try card: {name}", "good", check()))
        except Exception as error:  # whatever it is, the report goes on
            findings.append(Finding(f"try card: {name}", "bad", str(error) or type(error).__name__))
    return findings


def check_frames(driver: Driver) -> str:
    """A frame of odd sides to a tensor and back, as NumPy does it. Raises `ValueError`."""
    height, width = _ODD
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    driver.use()
    staging, landing = driver.pinned(frame.size), driver.pinned(frame.size)
    half = driver.pinned(6 * height * width)
    source, tensor, result = driver.device(frame.size), driver.device(half.size), driver.device(frame.size)
    stream, done = driver.stream(), driver.event()
    staging.opened()[:] = frame.reshape(-1)
    driver.copy(source, staging, stream)
    size = (width, height)
    driver.launch(driver.kernel("bgra_to_tensor", size, [source, *size, tensor, *size]), stream)
    driver.launch(driver.kernel("tensor_to_bgra", size, [tensor, *size, result, *size, source, *size]), stream)
    driver.copy(half, tensor, stream)
    driver.copy(landing, result, stream)
    driver.record(done, stream)
    driver.finish(done)
    ours = half.opened().view(np.float16).reshape(3, height, width).astype(float)
    exact = frame[..., 2::-1].transpose(2, 0, 1) / 127.5 - 1
    if not np.allclose(ours, exact, rtol=0, atol=HALF_STEP):  # false for what is no number, too
        raise ValueError("the tensor differs from NumPy's")
    if (landing.opened().reshape(frame.shape) != frame).any():
        raise ValueError("the frame that comes back is another")
    return f"{width}x{height} BGRA to fp16 and back, alpha kept"


def check_sizes(backend: TensorRtBackend) -> str:
    """Three sizes from one engine. Raises `ValueError`."""
    spec, times = filter_spec(), []
    for height, width in ((4, 4), (8, 5), (16, 16)):
        started = time.perf_counter()
        _compare(backend, spec, height, width)
        times.append(time.perf_counter() - started)
    return f"256x256 in {times[0]:.1f} s, then 320x512 in {times[1]:.2f} s and 1024x1024 in {times[2]:.2f} s"


def check_memory(backend: TensorRtBackend) -> str:
    """What a network took comes back when it is dropped. Raises `ValueError`."""
    spec = filter_spec()
    _compare(backend, spec, 4, 4)
    before = backend.driver.free_memory()
    for _ in range(5):
        _compare(backend, spec, 16, 16)
    gc.collect()
    kept = before - backend.driver.free_memory()
    if kept > _LEFT:
        raise ValueError(f"{kept / 1e6:.0f} MB are never given back")
    return "five networks of 1024x1024 made and dropped, all memory given back"


def check_weights(backend: TensorRtBackend) -> str:
    """New weights count from the next frame. Raises `ValueError`, and `ParameterError` where no engine can be built."""
    spec = filter_spec()
    network = backend.compile(spec, spec.shapes(batch=1, height=4, width=4))
    inputs = spec.examples(torch.float32, batch=1, height=4, width=4)
    for _ in range(3):
        network(*inputs)
    changed = copy.deepcopy(spec.module)
    with torch.no_grad():
        for weight in changed.parameters():
            weight.add_(0.25)
    started = time.perf_counter()
    network.refit(dict(changed.named_parameters()))
    result = network(*inputs).clone()
    taken = (time.perf_counter() - started) * 1e3
    with torch.inference_mode():
        expected = changed(*inputs)
    if float((result - expected).abs().max()) > 1e-2:
        raise ValueError("the network has its old weights")
    return f"replaced and used after {taken:.1f} ms"


def _compare(backend: TensorRtBackend, spec: NetworkSpec, height: int, width: int) -> None:
    sizes = {"batch": 1, "height": height, "width": width}
    inputs = spec.examples(torch.float32, **sizes)
    exact = TorchBackend().compile(spec, spec.shapes(**sizes))(*inputs)
    network = backend.compile(spec, spec.shapes(**sizes))
    for turn in ("first", "captured", "replayed"):
        difference = float((network(*inputs) - exact).std() / exact.std())
        if not difference <= TOLERANCE[network.cost.precision]:
            raise ValueError(f"the {turn} result at {64 * width}x{64 * height} differs by {difference:.1%}")
