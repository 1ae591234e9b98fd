"""From the words after --sink to an open sink. The page is opened by whoever serves it."""

from __future__ import annotations

from collections.abc import Callable

from driftcam.daemon.config.specs import Spec, device_number, fps_option, size_option
from driftcam.daemon.sinks import Sink
from driftcam.daemon.smooth.pace import shown_fps
from driftcam.daemon.sound import SoundOf, silent


def open_sink(
    spec: Spec,
    fps: float,
    rate: float = 0.0,
    *,
    compare: bool = False,
    sound: SoundOf = silent,
    why: Callable[[], str] = lambda: "",
    notify: Callable[[str], None] = lambda line: None,
) -> Sink:
    """`fps` is the source's, `rate` that of `Parameters.smooth`, 0 for none. `why` says why there is no picture.

    `why` and `notify` are called from other threads. Raises `ParameterError`.
    """
    if spec.kind == "file":
        from driftcam.daemon.sinks.file import FileSink

        return FileSink(spec.argument, shown_fps(fps, rate), compare=compare, sound=sound)
    from driftcam.daemon.sinks.virtualcam import FPS, SIZE, VirtualCameraSink, find_device

    device = find_device(device_number(spec.argument))
    width, height = size_option(spec) or SIZE
    return VirtualCameraSink(device, width, height, fps_option(spec) or max(FPS, rate), why=why, notify=notify)
