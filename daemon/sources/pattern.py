"""A moving test pattern."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from driftcam.daemon.frames import Picture
from driftcam.daemon.sound import Sound
from driftcam.daemon.sources import SourceInfo
from driftcam.daemon.sources.pacing import Pace

WIDTH, HEIGHT, FPS = 640, 360, 30.0


class PatternSource:
    """Coloured bars that drift, a disc that circles and the number of the frame. Never ends."""

    sound: Sound | None = None

    def __init__(self) -> None:
        self.info = SourceInfo(WIDTH, HEIGHT, FPS, None, waits=True)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        pace = Pace(stop)
        number = 0
        while not stop.is_set():
            due = round(number * 1e9 / FPS)
            if paced:
                pace.wait(due)
            captured = time.monotonic_ns()
            yield Picture(draw(number), captured if paced else due, captured)
            number += 1

    def close(self) -> None:
        pass


def draw(number: int) -> np.ndarray:
    """Frame `number` of the pattern."""
    image = np.roll(_bars(), -2 * number % WIDTH, axis=1)
    angle = number / 20
    center = int(WIDTH / 2 + 180 * np.cos(angle)), int(HEIGHT / 2 + 100 * np.sin(angle))
    cv2.circle(image, center, 48, (250, 240, 220), -1, cv2.LINE_AA)
    cv2.circle(image, center, 48, (20, 20, 40), 4, cv2.LINE_AA)
    cv2.putText(image, f"{number:06d}", (20, HEIGHT - 24), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (255, 255, 255), 3)
    return image


@functools.cache
def _bars() -> np.ndarray:
    """Slanted bars in the colours of the rainbow that continue at the other side."""
    x = np.arange(WIDTH, dtype=np.float32)[None, :, None] / WIDTH
    y = np.arange(HEIGHT, dtype=np.float32)[:, None, None] / HEIGHT
    colours = np.array([0.0, 2.1, 4.2], np.float32)
    return (127 + 90 * np.sin(2 * np.pi * (2 * x + 0.5 * y) + colours)).astype(np.uint8)
