"""The `virtualcam` sink: a camera that other programs open, through v4l2loopback."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from driftcam.daemon.frames import Result
from driftcam.daemon.placeholder import placeholder
from driftcam.daemon.sinks.loopback import CameraLost, LoopbackCamera, open_camera
from driftcam.engines.api import ParameterError
from driftcam.engines.api.fitting import fit_image

log = logging.getLogger("driftcam")
SIZE, FPS = (1280, 720), 30.0  # what programs that use cameras expect
STALE_S = 3.0  # without a result for so long, the picture is no longer shown
RETRY_S = 1.0
SETTLED = 100  # results until the delay is told
LABEL = "Driftcam"
CONTROL = "/dev/v4l2loopback"
DEVICES = Path("/sys/class/video4linux")
HOW_TO = """there is no virtual camera; make one with
  sudo apt install v4l2loopback-dkms
  sudo modprobe v4l2loopback devices=1 video_nr=10 card_label="Driftcam" exclusive_caps=1 max_buffers=2
and, to have it after every start, write
  /etc/modules-load.d/driftcam.conf: v4l2loopback
  /etc/modprobe.d/driftcam.conf: options v4l2loopback devices=1 video_nr=10 card_label="Driftcam" \
exclusive_caps=1 max_buffers=2"""


def find_device(number: int | None, devices: Path = DEVICES) -> str:
    """The device to write to: the one asked for, or the one labelled Driftcam, which is made if this user may.

    Not the first free one: that may be the camera of another program. Raises `ParameterError`.
    """
    if number is not None:
        if not (devices / f"video{number}").exists():
            raise ParameterError("sink", f"virtualcam:/dev/video{number}", HOW_TO)
        return f"/dev/video{number}"
    if device := _labelled(devices) or (create_device() and _labelled(devices)):
        return device
    raise ParameterError("sink", "virtualcam", HOW_TO)


def _labelled(devices: Path) -> str | None:
    for name in sorted(devices.glob("video*/name")):
        if name.read_text().strip() == LABEL:
            return f"/dev/{name.parent.name}"
    return None


def create_device() -> bool:
    """Ask a loaded v4l2loopback from 0.13 on for one more device. Whether it made one; blocks for a moment."""
    command = shutil.which("v4l2loopback-ctl")
    if command is None or not os.access(CONTROL, os.W_OK):
        return False
    try:
        return not subprocess.run(
            [command, "add", "-n", LABEL, "-x", "1", "-b", "2"], capture_output=True, timeout=5, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


class VirtualCameraSink:
    """Sends the newest result at a steady rate from a thread of its own, the same again while none comes.

    After `STALE_S` without a result, and before the first one, it sends a placeholder with the words of `why`: a
    program that reads a camera which stops waits for it, and may give up. The format is fixed when it is opened:
    programs that hold the camera open do not notice a change and would show garbage, so results are fitted. A device
    that stops working, or that another program took over, is opened again until it works.

    `why` and `notify` may be called from the thread.

    Attributes:
        repeated: pictures that were sent again because no other came in time.
    """

    def __init__(
        self,
        device: str,
        width: int = SIZE[0],
        height: int = SIZE[1],
        fps: float = FPS,
        *,
        why: Callable[[], str] = lambda: "",
        notify: Callable[[str], None] = lambda line: None,
        opener: Callable[[str, int, int, float], Any] = open_camera,
    ) -> None:
        self.name = f"virtualcam:{device}"
        self._fps, self._why, self._notify = fps, why, notify
        self._device = LoopbackCamera(device, width, height, fps, opener)
        try:
            self._device.open()
        except CameraLost as lost:
            advice = f"it cannot be opened ({lost}); is it a v4l2loopback device that no other program writes to?"
            raise ParameterError("sink", self.name, advice) from None
        if self._device.size != (width, height):
            had = "{}×{}".format(*self._device.size)
            notify(f"{self.name}: a program has it open at {had}, so it stays at that size until no program has")
        self._picture = PictureToSend(*self._device.size)
        self._delays: list[float] = []  # ms
        self._newest: Result | None = None
        self._sent: Result | None = None
        self._came = -math.inf
        self.repeated = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="driftcam-virtualcam", daemon=True)
        self._thread.start()

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        self._newest, self._came = result, time.monotonic()
        self._tell_delay(result)
        return True

    async def close(self) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 2)
        await asyncio.to_thread(self._device.close)

    def _tell_delay(self, result: Result) -> None:
        """Once it has settled: a camera carries no sound, so whoever adds some must delay it."""
        if len(self._delays) == SETTLED:
            return
        self._delays.append((time.monotonic_ns() - result.source.captured) / 1e6)
        if len(self._delays) == SETTLED:
            offset = round(statistics.median(self._delays[SETTLED // 2 :]) + 500 / self._fps)
            self._notify(f"{self.name}: pictures come {offset} ms after their sound; delay a microphone by as much")

    def _run(self) -> None:
        period = 1 / self._fps
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = next_due(due, time.monotonic(), period)
            try:
                self._device.send(self._current())
            except CameraLost as lost:
                self._notify(f"{self.name}: it takes no pictures ({lost}); trying to open it again")
                self._open_again()
            except Exception:
                log.exception("%s: a picture failed", self.name)
                self._stop.wait(RETRY_S)

    def _current(self) -> np.ndarray:
        newest = self._newest
        self.repeated += newest is not None and newest is self._sent
        self._sent = newest
        if newest is None or time.monotonic() - self._came > STALE_S:
            return self._picture.placeholder(self._why())
        return self._picture.result(newest)

    def _open_again(self) -> None:
        while not self._stop.wait(RETRY_S):
            try:
                self._device.open()
            except CameraLost:
                continue
            self._picture = PictureToSend(*self._device.size)
            self._notify(f"{self.name}: it works again")
            return


def next_due(due: float, now: float, period: float) -> float:
    """When to send again: a steady beat; who is late by more than one beat goes on from now instead of hurrying."""
    return due + period if now - due < period else now + period


class PictureToSend:
    """I420 pictures of one size; each is made once, however often it is sent."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._i420 = np.empty((height * 3 // 2, width), np.uint8)
        self._shown: Result | str | None = None

    def result(self, result: Result) -> np.ndarray:
        if self._shown is not result:
            self._fill(fit_image(result.image, *self._size))
            self._shown = result
        return self._i420

    def placeholder(self, reason: str) -> np.ndarray:
        if self._shown != reason:
            self._fill(placeholder(*self._size, reason))
            self._shown = reason
        return self._i420

    def _fill(self, image: np.ndarray) -> None:
        cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420, dst=self._i420)
