"""A camera that may come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2

from driftcam.daemon.frames import Picture
from driftcam.daemon.sound import Sound
from driftcam.daemon.sources import SourceInfo
from driftcam.engines.api import ParameterError

RETRY_S = 1.0
DEFAULT_FPS = 30.0


@dataclass(frozen=True)
class CaptureFormat:
    """What a camera is asked for; it may give something else. None and "" leave the choice to it.

    Attributes:
        size: (width, height).
        fps: frames a second.
        fourcc: the pixel format, such as MJPG or YUYV.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    fourcc: str = ""


def open_camera(index: int, asked: CaptureFormat) -> Any:
    """An opened `cv2.VideoCapture` that keeps one frame, or None."""
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        return None
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    # The pixel format first: a camera has its large sizes and high rates only in some of them.
    if asked.fourcc:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*asked.fourcc))
    if asked.size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.size[1])
    if asked.fps:
        capture.set(cv2.CAP_PROP_FPS, asked.fps)
    return capture


class WebcamSource:
    """A camera by number. Absent at the start it is an error; when it is unplugged or falls silent later, it is
    opened again until it gives pictures, be they of another size."""

    sound: Sound | None = None

    def __init__(
        self,
        index: int,
        notify: Callable[[str], None],
        asked: CaptureFormat | None = None,
        opener: Callable[[int, CaptureFormat], Any] = open_camera,
    ) -> None:
        self._index, self._notify, self._asked, self._opener = index, notify, asked or CaptureFormat(), opener
        self._capture = opener(index, self._asked)
        image = self._read()
        if image is None:
            self.close()
            advice = f"there is no camera that gives pictures at /dev/video{index}; is it plugged in, free and allowed?"
            raise ParameterError("source", f"webcam:{index}", advice)
        height, width = image.shape[:2]
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.info = SourceInfo(width, height, fps if 0 < fps <= 240 else DEFAULT_FPS, None, waits=False)
        if difference := other_than_asked(self._asked, self.info, fourcc_of(self._capture)):
            notify(f"webcam:{index}: the camera gives {difference}")

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
                self.close()
                stop.wait(RETRY_S)
                self._capture = None if stop.is_set() else self._opener(self._index, self._asked)
        finally:
            self.close()

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _read(self) -> Any:
        """The next frame as RGB, or None."""
        if self._capture is None:
            return None
        try:
            there, image = self._capture.read()
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if there and image.size else None
        except cv2.error:  # a driver that gave up in the middle of a frame
            return None


def fourcc_of(capture: Any) -> str:
    """The pixel format that a capture has chosen."""
    return int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=False).decode("ascii", "replace")


def other_than_asked(asked: CaptureFormat, info: SourceInfo, fourcc: str) -> str:
    """What the camera does not do as it was asked, in words; empty where it does. Pure."""
    pairs = []
    if asked.size and asked.size != (info.width, info.height):
        pairs.append((f"{info.width}x{info.height}", f"{asked.size[0]}x{asked.size[1]}"))
    if asked.fps and abs(asked.fps - info.fps) > 0.01 * asked.fps:
        pairs.append((f"{info.fps:g} fps", f"{asked.fps:g} fps"))
    if asked.fourcc and asked.fourcc != fourcc:
        pairs.append((fourcc, asked.fourcc))
    return ", ".join(f"{given} instead of {asked}" for given, asked in pairs)
