"""A v4l2loopback device that is written to, and the checks that pyvirtualcam leaves out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from driftcam.daemon.sinks import v4l2

CHECK_S = 1.0
FOURCC = "YU12"  # I420


class CameraLost(Exception):
    """The device cannot be opened or does not show what is sent; the text says why. One line."""


def open_camera(device: str, width: int, height: int, fps: float) -> Any:
    """A `pyvirtualcam.Camera` that takes I420. Raises `RuntimeError`."""
    import pyvirtualcam

    return pyvirtualcam.Camera(width, height, fps, fmt=pyvirtualcam.PixelFormat.I420, device=device)


class LoopbackCamera:
    """`open` it, also again after it was lost; `send` raises `CameraLost` where pyvirtualcam says nothing.

    Attributes:
        size: (width, height) that it takes. The one asked for, unless a program holds the camera open in another one:
            a change would be accepted, and that program would show garbage.
    """

    def __init__(
        self,
        device: str,
        width: int,
        height: int,
        fps: float,
        opener: Callable[[str, int, int, float], Any] = open_camera,
    ) -> None:
        self.size = width, height
        self._device, self._fps, self._opener = device, fps, opener
        self._real = Path(device).is_char_device()
        self._camera: Any = None
        self._watch: int | None = None
        self._checked = 0.0

    def open(self) -> None:
        """Raises `CameraLost`."""
        self.close()
        try:
            if self._real:
                self._prepare()
            self._camera = self._opener(self._device, *self.size, self._fps)
            if self._real and (size := self._taken_size()) != self.size:
                self._camera.close()
                self.size = size
                self._camera = self._opener(self._device, *self.size, self._fps)
            if self._real:
                v4l2.claim(self._device)
                self._watch = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
        except (RuntimeError, OSError) as error:
            self.close()
            raise CameraLost(str(error).replace("\n", "; ")) from None
        except CameraLost:
            self.close()
            raise
        self._checked = 0.0

    def send(self, i420: np.ndarray) -> None:
        """One picture, (height × 3 / 2, width) u8. Raises `CameraLost`."""
        try:
            self._camera.send(i420)
        except (RuntimeError, OSError) as error:
            raise CameraLost(str(error).replace("\n", "; ")) from None
        now = time.monotonic()
        if self._watch is not None and now - self._checked > CHECK_S:
            self._checked = now
            self._check(self._watch)

    def close(self) -> None:
        """Leaves the device so that the next producer can open it."""
        if self._watch is not None:
            os.close(self._watch)
        if self._camera is not None:
            self._camera.close()
        self._camera = self._watch = None

    def _prepare(self) -> None:
        if not v4l2.revive(self._device):
            raise CameraLost("another program writes to it")
        v4l2.announce_rate(self._device, self._fps)

    def _taken_size(self) -> tuple[int, int]:
        """What the device made of the size it was asked for: a program that has it open holds the old one."""
        taken = v4l2.taken_format(self._device)
        if taken is not None and taken[2] != FOURCC:
            raise CameraLost(f"a program has it open in {_words(taken)}; close that first")
        return taken[:2] if taken is not None else self.size

    def _check(self, watch: int) -> None:
        """Writing hides its errors, but the device shows what became of it."""
        shown, wanted = v4l2.shown_format(watch), (*self.size, FOURCC)
        if shown != wanted:
            raise CameraLost(f"it shows {_words(shown)} instead of {_words(wanted)}")


def _words(shown: tuple[int, int, str] | None) -> str:
    return f"{shown[0]}×{shown[1]} {shown[2]}" if shown else "nothing"
