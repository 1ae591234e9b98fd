"""What the engine logs, kept until the daemon asks for it: the daemon's log is where people look."""

from __future__ import annotations

import logging
from collections import deque

MOST = 50


class Kept(logging.Handler):
    """Lines of `driftcam` loggers from `info` upwards, the newest `MOST`."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[tuple[int, str]] = deque(maxlen=MOST)

    def install(self) -> Kept:
        logger = logging.getLogger("driftcam")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        return self

    def emit(self, record: logging.LogRecord) -> None:
        """From any thread."""
        self._lines.append((record.levelno, self.format(record)))

    def take(self) -> list[tuple[int, str]]:
        """Level and text of each line since the last call, oldest first."""
        return [self._lines.popleft() for _ in range(len(self._lines))]
