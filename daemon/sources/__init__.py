"""Where frames come from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from driftcam.daemon.config.specs import Spec, area_option, device_number, fps_option, size_option
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
    """

    info: SourceInfo
    sound: Sound | None

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]: ...


def open_source(spec: Spec, notify: Callable[[str], None]) -> Source:
    """Blocking. Raises `ParameterError` with one clear line. `notify` is called from the source's thread."""
    if spec.kind == "clip":
        from driftcam.daemon.sources.clip import ClipSource

        return ClipSource(spec.argument, notify)
    if spec.kind == "url":
        from driftcam.daemon.sources.url import UrlSource

        return UrlSource(spec.argument, notify)
    if spec.kind == "webcam":
        from driftcam.daemon.sources.webcam import WebcamSource, Wish

        wish = Wish(size_option(spec), fps_option(spec), spec.options.get("format", ""))
        return WebcamSource(device_number(spec.argument) or 0, notify, wish)
    if spec.kind == "screen":
        from driftcam.daemon.sources.screen import ScreenSource

        return ScreenSource(int(spec.argument or 0), area_option(spec), fps_option(spec), notify)
    from driftcam.daemon.sources.pattern import PatternSource

    return PatternSource()
