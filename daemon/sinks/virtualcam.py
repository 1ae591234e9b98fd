"""The `virtualcam` sink: a camera that other programs open, through v4l2loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.errors import RunError
from daemon.frames import Result, cover
from engines.api import ParameterError

LABEL = "Driftcam"
DEVICES = Path("/sys/class/video4linux")
HOW_TO = """there is no virtual camera; make one with
  sudo apt install v4l2loopback-dkms
  sudo modprobe v4l2loopback devices=1 video_nr=10 card_label="Driftcam" exclusive_caps=1 max_buffers=2
and, to have it after every start, write
  /etc/modules-load.d/driftcam.conf: v4l2loopback
  /etc/modprobe.d/driftcam.conf: options v4l2loopback devices=1 video_nr=10 card_label="Driftcam" \
exclusive_caps=1 max_buffers=2"""


def find_device(number: int | None, devices: Path = DEVICES) -> str:
    """The device to write to: the one asked for, or the one labelled Driftcam. Raises `ParameterError`.

    Not the first free one: that may be the camera of another program.
    """
    if number is not None:
        if not (devices / f"video{number}").exists():
            raise ParameterError("sink", f"virtualcam:/dev/video{number}", HOW_TO)
        return f"/dev/video{number}"
    for name in sorted(devices.glob("video*/name")):
        if name.read_text().strip() == LABEL:
            return f"/dev/{name.parent.name}"
    raise ParameterError("sink", "virtualcam", HOW_TO)


def open_camera(device: str, width: int, height: int, fps: float) -> Any:
    """A `pyvirtualcam.Camera`. Raises `RuntimeError`."""
    import pyvirtualcam

    return pyvirtualcam.Camera(width, height, fps, device=device, print_fps=False)


class VirtualCameraSink:
    """Sends the newest result at a steady rate from a thread of its own, the same again while none comes.

    The format is fixed when it is opened: programs that hold the camera open do not notice a change and would
    show garbage, so results of another size are fitted.
    """

    def __init__(
        self,
        device: str,
        width: int,
        height: int,
        fps: float,
        opener: Callable[[str, int, int, float], Any] = open_camera,
    ) -> None:
        self.name = f"virtualcam:{device}"
        self._size, self._period = (width, height), 1 / fps
        try:
            self._camera = opener(device, width, height, fps)
        except RuntimeError as error:
            reason = str(error).replace("\n", "; ")
            advice = f"it cannot be opened ({reason}); is it a v4l2loopback device that no other program writes to?"
            raise ParameterError("sink", self.name, advice) from None
        self._newest: Result | None = None
        self._failure: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="driftcam-virtualcam", daemon=True)
        self._thread.start()

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        if self._failure is not None:
            raise RunError(f"{self.name}: it takes no more pictures ({self._failure})")
        self._newest = result
        return True

    async def close(self) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 2)
        self._camera.close()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period, time.monotonic())
            if self._newest is None:
                continue
            try:
                self._camera.send(cover(self._newest.image, *self._size))
            except (RuntimeError, OSError) as error:
                self._failure = str(error)
                return
