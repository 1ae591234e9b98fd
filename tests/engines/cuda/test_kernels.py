"""The kernels: NVRTC takes them for every generation, and their sums are those of NumPy in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driftcam.engines.backends.cuda import kernels
from driftcam.engines.backends.cuda.kernels import KERNELS, compile_kernels, kept_kernels
from tests.engines.cuda.simulated import SimulatedDriver

SIZES = [((6, 8), (6, 8)), ((7, 5), (16, 24)), ((33, 47), (8, 16)), ((1, 1), (5, 3)), ((31, 64), (64, 31))]
"""(height, width) of the frame and of the tensor."""
HALF = 2**-11 * 1.01  # half a step of fp16 below 1, and the rounding of single precision


@pytest.mark.parametrize("target", ["sm75", "sm86", "sm89", "sm90", "sm120"])
def test_every_generation_gets_its_machine_code(target: str) -> None:
    pytest.importorskip("cuda.core")
    code = compile_kernels(target)
    assert code[:4] == b"\x7fELF"
    for name in KERNELS:
        assert f".text.{name}\0".encode() in code


def test_kernels_are_kept_and_damage_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.core")
    code = kept_kernels("sm89", tmp_path)
    monkeypatch.setattr(kernels, "compile_kernels", lambda target: pytest.fail("compiled again"))
    assert kept_kernels("sm89", tmp_path) == code
    monkeypatch.setattr(kernels, "compile_kernels", lambda target: code)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    assert kept_kernels("sm89", tmp_path) == code == kept_kernels("sm89", tmp_path / "file" / "that")


# -- the reference ----------------------------------------------------------------------------------


def scaled(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear in float64, pixel centres at half numbers, borders repeated."""
    rows, columns = _taps(height, plane.shape[0]), _taps(width, plane.shape[1])
    plane = plane.astype(np.float64)
    lines = plane[rows[0]] * (1 - rows[2])[:, None] + plane[rows[1]] * rows[2][:, None]
    return lines[:, columns[0]] * (1 - columns[2]) + lines[:, columns[1]] * columns[2]


def _taps(size: int, source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = (np.arange(size) + 0.5) * source / size - 0.5
    low = np.floor(place).astype(int)
    return low.clip(0, source - 1), (low + 1).clip(0, source - 1), place - low


# -- frames to tensors ------------------------------------------------------------------------------


def to_tensor(shim, name: str, frame: np.ndarray, size: tuple[int, int], shape: tuple[int, int], *rest: float):
    driver = SimulatedDriver(shim)
    source, tensor = driver.device(frame.size), driver.device(6 * shape[0] * shape[1])
    source.host[:] = frame.reshape(-1)
    stream = driver.stream()
    arguments = [source, size[1], size[0], tensor, shape[1], shape[0], *rest]
    driver.launch(driver.kernel(name, (shape[1], shape[0]), arguments), stream)
    driver.settle()
    return tensor.host.view(np.float16).reshape(3, *shape).astype(np.float64)


@pytest.mark.parametrize(("size", "shape"), SIZES)
@pytest.mark.parametrize("layout", ["rgb", "bgra"])
def test_colour_frames_to_tensors(shim, layout: str, size: tuple, shape: tuple) -> None:
    channels, order = {"rgb": (3, (0, 1, 2)), "bgra": (4, (2, 1, 0))}[layout]
    frame = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    expected = np.stack([scaled(frame[..., k], *shape) for k in order]) / 127.5 - 1
    assert np.abs(to_tensor(shim, f"{layout}_to_tensor", frame, size, shape) - expected).max() <= HALF


# -- tensors to frames ------------------------------------------------------------------------------


def to_frame(shim, name: str, tensor: np.ndarray, size: tuple[int, int], length: int, threads: tuple, *rest):
    driver = SimulatedDriver(shim)
    shape = tensor.shape[1:]
    source, frame = driver.device(tensor.nbytes), driver.device(length)
    source.host[:] = tensor.reshape(-1).view(np.uint8)
    arguments = [source, shape[1], shape[0], frame, size[1], size[0]]
    for value in rest:
        if isinstance(value, np.ndarray):
            memory = driver.device(value.size)
            memory.host[:] = value.reshape(-1)
            value = memory
        arguments.append(value)
    driver.launch(driver.kernel(name, threads, arguments), driver.stream())
    driver.settle()
    return frame.host


def random_tensor(shape: tuple[int, int]) -> np.ndarray:
    """Goes beyond [−1, 1], as networks do."""
    return np.random.default_rng(2).uniform(-1.2, 1.2, (3, *shape)).astype(np.float16)


def rounded_alike(ours: np.ndarray, exact: np.ndarray) -> None:
    """The nearest byte, where single precision can tell which that is."""
    assert np.abs(ours.astype(np.float64) - exact.clip(0, 255)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("size", "shape"), SIZES)
def test_tensors_to_rgb(shim, size: tuple, shape: tuple) -> None:
    tensor = random_tensor(shape)
    ours = to_frame(shim, "tensor_to_rgb", tensor, size, 3 * size[0] * size[1], size[::-1]).reshape(*size, 3)
    for k in range(3):
        rounded_alike(ours[..., k], scaled(tensor[k], *size) * 127.5 + 127.5)


@pytest.mark.parametrize(("size", "shape"), SIZES)
def test_tensors_to_bgra_keep_the_alpha_of_the_source(shim, size: tuple, shape: tuple) -> None:
    tensor = random_tensor(shape)
    source = np.random.default_rng(3).integers(0, 256, (9, 13, 4), np.uint8)
    frame = to_frame(shim, "tensor_to_bgra", tensor, size, 4 * size[0] * size[1], size[::-1], source, 13, 9)
    ours = frame.reshape(*size, 4)
    for k in range(3):
        rounded_alike(ours[..., k], scaled(tensor[2 - k], *size) * 127.5 + 127.5)
    rounded_alike(ours[..., 3], scaled(source[..., 3], *size))
