"""A camera that may come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2

from daemon.frames import Picture
from daemon.sources import SourceInfo
from engines.api import ParameterError

RETRY_S = 1.0
DEFAULT_FPS = 30.0


def open_camera(index: int) -> Any:
    """An opened `cv2.VideoCapture` that keeps one frame, or None."""
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        return None
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


class WebcamSource:
    """A camera by number. Absent at the start it is an error; when it is unplugged later, it is waited for."""

    def __init__(self, index: int, notify: Callable[[str], None], opener: Callable[[int], Any] = open_camera) -> None:
        self._index, self._notify, self._opener = index, notify, opener
        self._capture = opener(index)
        image = self._read()
        if image is None:
            self._close()
            advice = f"there is no camera that gives pictures at /dev/video{index}; is it plugged in, free and allowed?"
            raise ParameterError("source", f"webcam:{index}", advice)
        height, width = image.shape[:2]
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.info = SourceInfo(width, height, fps if 0 < fps <= 240 else DEFAULT_FPS, None, waits=False)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        lost = False
        try:
            while not stop.is_set():
                image = self._read()
                if image is not None:
                    if lost:
                        self._notify(f"webcam:{self._index}: the camera is back")
                        lost = False
                    captured = time.monotonic_ns()
                    yield Picture(image, captured, captured)
                    continue
                if not lost:
                    self._notify(f"webcam:{self._index}: the camera is gone; waiting for it to come back")
                    lost = True
                self._close()
                stop.wait(RETRY_S)
                self._capture = None if stop.is_set() else self._opener(self._index)
        finally:
            self._close()

    def _read(self) -> Any:
        """The next frame as RGB, or None."""
        if self._capture is None:
            return None
        there, image = self._capture.read()
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if there else None

    def _close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
