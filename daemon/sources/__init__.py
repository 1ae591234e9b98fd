"""Where frames come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from driftcam.daemon.frames import Picture
from driftcam.daemon.sound import Sound


@dataclass(frozen=True)
class SourceInfo:
    """What is known before the first frame.

    Attributes:
        width, height: of the frames, as shown (after rotation).
        fps: nominal frame rate.
        frames: how many there are, as far as the file says; None for a source without end.
        waits: it can be read at any pace, so that every frame can be processed.
    """

    width: int
    height: int
    fps: float
    frames: int | None
    waits: bool


class Source(Protocol):
    """Opened by `open_source`; `frames` is then called once, in a thread of its own.

    `frames` blocks for the next frame and ends soon after `stop` is set, or at the end of the material.
    With `paced` frames come in real time, the material being repeated; without, as fast as they are taken.
    It frees everything it opened when it ends or is closed. `sound` is written while frames are taken.
    `close` does so where `frames` was never begun.
    """

    info: SourceInfo
    sound: Sound | None

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]: ...

    def close(self) -> None: ...
