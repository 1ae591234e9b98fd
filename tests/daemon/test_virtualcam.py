"""The virtual camera's sink over a real `pyvirtualcam.Camera` with a backend that remembers. The kernel's side
cannot be had without the module: that is for a virtual machine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pyvirtualcam
from pyvirtualcam.camera import register_backend

from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.placeholder import placeholder
from driftcam.daemon.sinks import loopback, v4l2, virtualcam
from driftcam.daemon.sinks.loopback import CameraLost, LoopbackCamera
from driftcam.daemon.sinks.virtualcam import VirtualCameraSink, find_device, next_due
from driftcam.engines.api import ParameterError


class Backend:
    """What pyvirtualcam asks of a backend."""

    sent: list[np.ndarray] = []  # noqa: RUF012
    closed = broken = False
    refusing = 0  # so many times from now on

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None, **kw: Any) -> None:
        if device == "/dev/video9":
            raise RuntimeError("device is busy")
        if Backend.refusing:
            Backend.refusing -= 1
            raise RuntimeError("device is still busy")
        Backend.sent, Backend.closed, Backend.broken = [], False, False

    def send(self, frame: np.ndarray) -> None:
        if Backend.broken:
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
    i420 = pyvirtualcam.PixelFormat.I420
    return pyvirtualcam.Camera(width, height, fps, fmt=i420, device=device, backend="memory")


def sink(device: str = "/dev/video10", **options: Any) -> VirtualCameraSink:
    return VirtualCameraSink(device, 64, 32, 50.0, opener=open_camera, **options)


def until(condition: Callable[[], object], timeout: float = 10) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def luma(brightness: int) -> int:
    """Of a grey of 0 to 255, as video has it: 16 to 235."""
    return round(16 + brightness * 219 / 255)


def shown() -> set[int]:
    """The brightness of everything that was sent: of the upper left corner, where a placeholder is dark."""
    return {int(frame[0]) for frame in Backend.sent}


def result(width: int, height: int, brightness: int) -> Result:
    image = np.full((height, width, 3), brightness, np.uint8)
    return Result(image, Picture(image, 0, 0), 1, False, 0.0, 0)


async def test_the_last_picture_is_sent_again_while_none_comes() -> None:
    camera = sink()
    camera.offer(result(64, 32, 200))
    until(lambda: luma(200) in shown())
    Backend.sent.clear()
    until(lambda: len(Backend.sent) > 5)
    assert shown() == {luma(200)}
    assert camera.repeated >= 5
    await camera.close()
    assert Backend.closed


async def test_a_placeholder_is_shown_before_the_first_result_and_when_none_comes_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(virtualcam, "STALE_S", 0.2)
    asked: list[str] = []
    camera = sink(why=lambda: asked.append("the engine is starting") or asked[-1])
    dark = int(cv2.cvtColor(placeholder(64, 32), cv2.COLOR_RGB2YUV_I420)[0, 0])
    until(lambda: len(Backend.sent) > 3)
    assert shown() == {dark}
    assert asked
    camera.offer(result(64, 32, 200))
    until(lambda: luma(200) in shown())
    Backend.sent.clear()
    until(lambda: dark in shown())
    camera.offer(result(64, 32, 90))
    until(lambda: luma(90) in shown())
    await camera.close()


async def test_the_format_never_changes() -> None:
    camera = sink()
    for number, (width, height) in enumerate([(64, 32), (128, 128), (72, 200)]):
        camera.offer(result(width, height, 100 + number))
        until(lambda: luma(100 + number) in shown())  # noqa: B023
    await camera.close()
    assert {frame.size for frame in Backend.sent} == {64 * 32 * 3 // 2}


async def test_a_device_that_breaks_is_opened_again_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtualcam, "RETRY_S", 0.01)
    said: list[str] = []
    camera = sink(notify=said.append)
    until(lambda: Backend.sent)
    Backend.broken = True
    Backend.refusing = 3
    until(lambda: not Backend.broken and Backend.sent)
    camera.offer(result(64, 32, 200))
    until(lambda: luma(200) in shown())
    await camera.close()
    assert [line.partition(": ")[2] for line in said] == [
        "it takes no pictures (the device is gone); trying to open it again",
        "it works again",
    ]


async def test_a_mistake_over_one_picture_does_not_end_the_camera(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(virtualcam, "RETRY_S", 0.01)
    mistakes = []

    def why() -> str:
        if len(mistakes) < 2:
            mistakes.append(1)
            raise TypeError("a mistake")
        return "waiting"

    camera = sink(why=why)
    until(lambda: Backend.sent)
    camera.offer(result(64, 32, 200))
    until(lambda: luma(200) in shown())
    await camera.close()
    assert len(mistakes) == 2 and "a picture failed" in caplog.text


async def test_the_delay_to_give_a_microphone_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtualcam, "SETTLED", 4)
    said: list[str] = []
    camera = sink(notify=said.append)
    for number in range(10):
        late = result(64, 32, number)
        captured = time.monotonic_ns() - 200_000_000
        camera.offer(dataclasses.replace(late, source=Picture(late.image, number, captured)))
    await camera.close()
    (line,) = said
    assert 205 <= int(line.split()[3]) <= 300, line
    assert line.endswith("ms after their sound; delay a microphone by as much")


def test_a_device_is_made_where_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "v4l2loopback-ctl"
    program.write_text(f"#!/bin/sh\nmkdir {tmp_path}/video3 && echo $3 > {tmp_path}/video3/name\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(virtualcam, "CONTROL", str(tmp_path / "absent"))
    with pytest.raises(ParameterError, match="modprobe"):
        find_device(None, tmp_path)
    monkeypatch.setattr(virtualcam, "CONTROL", str(program))
    assert find_device(None, tmp_path) == "/dev/video3"


def test_the_beat_is_steady_and_a_pause_is_not_made_up_for() -> None:
    """After a suspend, or on a busy machine, nothing is sent in a burst."""
    assert next_due(10.0, 10.001, 0.04) == pytest.approx(10.04)
    assert next_due(10.0, 10.039, 0.04) == pytest.approx(10.04)
    assert next_due(10.0, 3600.0, 0.04) == pytest.approx(3600.04)


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


class Kernel:
    """The answers of a v4l2loopback device, in the place of its ioctls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capabilities, self.shown, self.taken = v4l2.OUTPUT, (64, 32, "YU12"), (64, 32, "YU12")
        monkeypatch.setattr(v4l2, "capabilities", lambda descriptor: self.capabilities)
        monkeypatch.setattr(v4l2, "shown_format", lambda descriptor: self.shown)
        monkeypatch.setattr(v4l2, "taken_format", lambda device: self.taken)
        monkeypatch.setattr(v4l2, "announce_rate", lambda device, fps: None)
        monkeypatch.setattr(loopback, "CHECK_S", 0.0)


def kernel_camera(width: int = 64, height: int = 32) -> LoopbackCamera:
    """On a file that is a character device, as the sink's is."""
    return LoopbackCamera("/dev/null", width, height, 50.0, open_camera)


def test_pictures_that_do_not_arrive_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyvirtualcam says nothing when writing fails."""
    kernel, picture = Kernel(monkeypatch), np.zeros((48, 64), np.uint8)
    camera = kernel_camera()
    camera.open()
    camera.send(picture)
    for shown, words in [(None, "nothing"), ((320, 240, "YUYV"), "320×240 YUYV")]:
        kernel.shown = shown
        with pytest.raises(CameraLost, match=f"it shows {words} instead of 64×32 YU12"):
            camera.send(picture)
    kernel.shown = (64, 32, "YU12")
    camera.open()
    camera.send(picture)
    camera.close()


def test_the_size_stays_while_a_program_has_the_camera_open(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    camera = kernel_camera(128, 72)
    kernel.taken = (64, 32, "YU12")  # whatever it is asked for
    camera.open()
    assert camera.size == (64, 32)
    camera.send(np.zeros((48, 64), np.uint8))
    camera.close()
    kernel.taken = (64, 32, "YUYV")
    with pytest.raises(CameraLost, match="a program has it open in 64×32 YUYV; close that first"):
        camera.open()


def test_a_device_that_another_program_writes_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    kernel.capabilities = v4l2.CAPTURE
    with pytest.raises(CameraLost, match="another program writes to it"):
        kernel_camera().open()


def test_a_device_that_is_none_is_told_in_one_line() -> None:
    with pytest.raises(CameraLost, match="Inappropriate ioctl for device"):
        kernel_camera().open()
