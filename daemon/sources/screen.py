"""The screen, or a part of it, through `mss` (X11, Windows, macOS)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from driftcam.daemon.frames import Picture
from driftcam.daemon.sound import Sound
from driftcam.daemon.sources import SourceInfo
from driftcam.daemon.sources.pacing import Pace
from driftcam.engines.api import ParameterError

FPS = 30.0
RETRY_S = 1.0
# What `mss` raises besides its own error; ValueError, a null pointer, where the server ends while it connects.
GONE = (OSError, ValueError)


class ScreenSource:
    """Monitor `number` (from 1; 0: all of them side by side), or `area` (width, height, x, y) of it.

    Every grab opens nothing new; when the screen cannot be read any more (locked, turned off, the display server
    has ended) it is tried again each second.
    """

    sound: Sound | None = None

    def __init__(
        self, number: int, area: tuple[int, int, int, int] | None, fps: float | None, notify: Callable[[str], None]
    ) -> None:
        self._name = f"screen:{number}" if number else "screen"
        self._number, self._area, self._fps, self._notify = number, area, fps or FPS, notify
        import mss

        try:
            with mss.MSS() as grabber:
                box = self._box(grabber)
                grabber.grab(box)
        except (mss.ScreenShotError, *GONE) as error:
            advice = f"the screen cannot be read ({error}); Wayland shows it to OBS or a browser only: use those"
            raise ParameterError("source", self._name, advice.replace("\n", "; ")) from None
        self.info = SourceInfo(box["width"], box["height"], self._fps, None, waits=False)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        import mss

        pace, number, lost = Pace(stop), 0, False
        while not stop.is_set():
            try:
                with mss.MSS() as grabber:  # here, because it belongs to the thread
                    box = self._box(grabber)
                    while not stop.is_set():
                        pace.wait(round(number * 1e9 / self._fps))
                        number += 1
                        captured = time.monotonic_ns()
                        image = cv2.cvtColor(np.asarray(grabber.grab(box)), cv2.COLOR_BGRA2RGB)
                        if lost:
                            self._notify(f"{self._name}: the screen is back")
                            lost = False
                        yield Picture(image, captured, captured)
            except (mss.ScreenShotError, *GONE, ParameterError) as error:
                if not lost:
                    self._notify(f"{self._name}: the screen cannot be read any more ({error}); trying again")
                    lost = True
                stop.wait(RETRY_S)

    def close(self) -> None:
        pass

    def _box(self, grabber: Any) -> dict[str, int]:
        monitors = grabber.monitors
        if self._number >= len(monitors):
            count = len(monitors) - 1
            have = "there is 1 monitor, so" if count == 1 else f"there are {count} monitors, so"
            raise ParameterError(
                "source", self._name, f"{have} write screen:1" + (f" to screen:{count}" if count > 1 else "")
            )
        monitor = dict(monitors[self._number])
        if self._area is None:
            return monitor
        width, height, x, y = self._area
        if x + width > monitor["width"] or y + height > monitor["height"]:
            size = f"{monitor['width']}x{monitor['height']}"
            raise ParameterError("source", f"{self._name}?area={width}x{height}+{x}+{y}", f"the screen has {size}")
        return {"left": monitor["left"] + x, "top": monitor["top"] + y, "width": width, "height": height}
