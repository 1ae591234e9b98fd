"""From the words after --source to an open source."""

from __future__ import annotations

import threading
from collections.abc import Callable

from driftcam.daemon.config.specs import Spec, area_option, device_number, fps_option, size_option
from driftcam.daemon.sources import Source


def open_source(spec: Spec, notify: Callable[[str], None], stop: threading.Event | None = None) -> Source:
    """Blocking, until `stop` is set where that can be helped. `notify` is called from the source's thread.

    Raises `ParameterError` with one clear line.
    """
    if spec.kind == "clip":
        from driftcam.daemon.sources.clip import ClipSource

        return ClipSource(spec.argument, notify, stop)
    if spec.kind == "url":
        from driftcam.daemon.sources.url import UrlSource

        return UrlSource(spec.argument, notify, stop)
    if spec.kind == "webcam":
        from driftcam.daemon.sources.webcam import CaptureFormat, WebcamSource

        asked = CaptureFormat(size_option(spec), fps_option(spec), spec.options.get("format", ""))
        return WebcamSource(device_number(spec.argument) or 0, notify, asked)
    if spec.kind == "screen":
        from driftcam.daemon.sources.screen import ScreenSource

        return ScreenSource(int(spec.argument or 0), area_option(spec), fps_option(spec), notify)
    from driftcam.daemon.sources.pattern import PatternSource

    return PatternSource()
