"""A progress bar for a person at a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from driftcam.daemon import terminal
from driftcam.daemon.run import Progress

WIDTH = 30


def bar(progress: Progress, elapsed: float, cells: str = "█░") -> str:
    """One line: how much is done, how fast, how long it will still take."""
    if not progress.total:
        return f"{progress.done} frames  {progress.fps:.1f} fps"
    share = min(1.0, progress.done / progress.total)
    left = elapsed / share - elapsed if share else 0.0
    filled = round(share * WIDTH)
    drawn = cells[0] * filled + cells[1] * (WIDTH - filled)
    return f"{drawn} {progress.done}/{progress.total}  {progress.fps:.1f} fps  {left:.0f} s left"


class ProgressBar:
    """Redraws one line of a terminal, at most ten times a second; silent where there is no terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._cells = "█░" if terminal.speaks("█░", self._stream) else "#."
        self._start = time.monotonic()
        self._drawn = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._shown and (now - self._drawn > 0.1 or progress.done == progress.total):
            self._drawn = now
            self._stream.write(f"\r\x1b[K{bar(progress, now - self._start, self._cells)}")
            self._stream.flush()

    def clear(self) -> None:
        """Make the line free for other words."""
        if self._shown and self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
