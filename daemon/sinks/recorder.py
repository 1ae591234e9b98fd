"""A recording that is started and stopped while the stream runs."""

from __future__ import annotations

import itertools
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from driftcam.daemon.frames import Result
from driftcam.daemon.sinks.file import FileSink
from driftcam.daemon.sound import SoundOf, silent
from driftcam.engines.api import ParameterError


class Recorder(FileSink):
    """Writes `FOLDER/NAME-DATE-TIME.mp4`; the folder is made, an existing file never replaced.

    Start: construct it (blocking for a moment) and add it to the session. Stop: remove it, `await close()`. It fails
    as a `FileSink` does: a full disk raises `RunError` from `offer`, and what was written until then plays.

    Attributes:
        path: of the file. It exists from the start, and is removed by `close` if no result came.
    """

    def __init__(self, folder: Path, name: str, fps: float, *, sound: SoundOf = silent) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            advice = f"the folder cannot be made ({error.strerror}); choose another one"
            raise ParameterError("recording", str(folder), advice) from None
        self.path = free_path(folder, f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
        super().__init__(str(self.path), fps, hardware=True, sound=sound)
        self.name = f"record:{self.path.name}"
        self._started: float | None = None
        self._ended = 0.0
        self._frames = self._dropped = 0

    def offer(self, result: Result) -> bool:
        taken = super().offer(result)
        self._ended = time.monotonic()
        self._started = self._ended if self._started is None else self._started
        self._frames += taken
        self._dropped += not taken
        return taken

    def status(self) -> dict[str, Any]:
        """For people: file, seconds, frames, frames dropped because the encoder was busy, and bytes on disk so far."""
        try:
            size = self.path.stat().st_size
        except OSError:
            size = 0
        seconds = round(self._ended - self._started, 1) if self._started is not None else 0.0
        return {
            "path": str(self.path),
            "seconds": seconds,
            "frames": self._frames,
            "dropped": self._dropped,
            "bytes": size,
        }


def free_path(folder: Path, stem: str) -> Path:
    """`stem.mp4`, or the first of `stem-2.mp4`, `stem-3.mp4` … that does not exist."""
    names = itertools.chain([f"{stem}.mp4"], (f"{stem}-{number}.mp4" for number in itertools.count(2)))
    return next(path for name in names if not (path := folder / name).exists())
