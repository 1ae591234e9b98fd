"""The virtual camera's sink over a real `pyvirtualcam.Camera` with a backend that remembers. The kernel's side
cannot be had without the module: that is for a virtual machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvirtualcam
from pyvirtualcam.camera import register_backend

from daemon.errors import RunError
from daemon.frames import Picture, Result
from daemon.sinks.virtualcam import VirtualCameraSink, find_device
from engines.api import ParameterError

BREAKS = 99


class Backend:
    """What pyvirtualcam asks of a backend."""

    sent: list[np.ndarray] = []  # noqa: RUF012
    closed = False

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None, **kw: Any) -> None:
        if device == "/dev/video9":
            raise RuntimeError("device is busy")
        Backend.sent, Backend.closed = [], False

    def send(self, frame: np.ndarray) -> None:
        if frame[0] == BREAKS:
            raise RuntimeError("the device is gone")
        Backend.sent.append(frame.copy())

    def close(self) -> None:
        Backend.closed = True

    def device(self) -> str:
        return "/dev/video10"

    def native_fourcc(self) -> None:
        return None


register_backend("memory", Backend)


def open_camera(device: str, width: int, height: int, fps: float) -> pyvirtualcam.Camera:
    return pyvirtualcam.Camera(width, height, fps, device=device, backend="memory")


def sink(device: str = "/dev/video10") -> VirtualCameraSink:
    return VirtualCameraSink(device, 64, 32, 50.0, open_camera)


def result(width: int, height: int, brightness: int) -> Result:
    image = np.full((height, width, 3), brightness, np.uint8)
    return Result(image, Picture(image, 0, 0), 1, False, 0.0, 0)


async def test_the_last_picture_is_sent_again_while_none_comes() -> None:
    camera = sink()
    time.sleep(0.1)
    assert not Backend.sent, "nothing before the first result"
    camera.offer(result(64, 32, 7))
    time.sleep(0.3)
    await camera.close()
    assert 5 <= len(Backend.sent) <= 20  # 15 at 50 per second
    assert {int(frame[0]) for frame in Backend.sent} == {7}
    assert Backend.closed


async def test_the_format_never_changes() -> None:
    camera = sink()
    for width, height in [(64, 32), (128, 128), (72, 200)]:
        camera.offer(result(width, height, 7))
        time.sleep(0.05)
    await camera.close()
    assert {frame.size for frame in Backend.sent} == {64 * 32 * 3}


async def test_a_device_that_breaks_ends_the_sink_with_its_reason() -> None:
    camera = sink()
    camera.offer(result(64, 32, BREAKS))
    time.sleep(0.1)
    with pytest.raises(RunError, match=r"/dev/video10: it takes no more pictures \(the device is gone\)"):
        camera.offer(result(64, 32, 1))
    await camera.close()


def test_a_device_that_cannot_be_opened_is_named() -> None:
    with pytest.raises(ParameterError, match=r"virtualcam:/dev/video9.*device is busy"):
        sink("/dev/video9")


def test_the_device_is_chosen_by_its_label(tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as missing:
        find_device(None, tmp_path)
    for words in ("modprobe v4l2loopback devices=1", "/etc/modules-load.d/driftcam.conf", "/etc/modprobe.d/"):
        assert words in str(missing.value)
    for name, label in {"video0": "Integrated Camera", "video4": "OBS Virtual Camera", "video10": "Driftcam"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(label + "\n")
    assert find_device(None, tmp_path) == "/dev/video10"
    assert find_device(4, tmp_path) == "/dev/video4"
    with pytest.raises(ParameterError, match="video7"):
        find_device(7, tmp_path)
