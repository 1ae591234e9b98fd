"""What the daemon says: to the journal or a terminal, and the newest lines to whoever asks over the API."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from typing import Any, TextIO

LOGGER = "driftcam"
RECENT = 1000
LEVELS = ("debug", "info", "warning", "error")
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class JournalFormat(logging.Formatter):
    """Lines with the priority in front, as journald reads them (sd-daemon(3)); it adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, 6)
        # A line break would begin an entry without priority, or with one that somebody else chose.
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class Recent(logging.Handler):
    """The newest lines."""

    def __init__(self, most: int = RECENT) -> None:
        super().__init__()
        self._records: deque[dict[str, Any]] = deque(maxlen=most)

    def emit(self, record: logging.LogRecord) -> None:
        entry = {"time": record.created, "level": record.levelname.lower(), "text": self.format(record)}
        self._records.append(entry)

    def lines(self, most: int, level: str = "debug") -> list[dict[str, Any]]:
        """The newest `most` of at least `level`, oldest first."""
        wanted = (*LEVELS[LEVELS.index(level) :], "critical")
        return [entry for entry in list(self._records) if entry["level"] in wanted][-most:]


class Redacted(logging.Formatter):
    """What another formatter makes, tracebacks and all, without secrets, whoever put them in."""

    def __init__(self, inner: logging.Formatter, secrets: set[str]) -> None:
        super().__init__()
        self._inner, self._secrets = inner, secrets

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text


def to_journal(stream: TextIO) -> bool:
    """Whether journald reads `stream` (it tells us device and inode)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Logs:
    """Sets the daemon's log up: to `stream` (standard error), and the newest lines to `recent`."""

    def __init__(self, level: str, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._secrets: set[str] = set()
        self.recent = Recent()
        written = logging.StreamHandler(stream)
        written.setFormatter(
            Redacted(JournalFormat("%(message)s") if to_journal(stream) else _terminal_format(), self._secrets)
        )
        self.recent.setFormatter(Redacted(logging.Formatter("%(message)s"), self._secrets))
        self._logger = logging.getLogger(LOGGER)
        self._logger.handlers[:] = [written, self.recent]
        self._logger.propagate = False
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """The least that is written, one of `LEVELS`."""
        self._logger.setLevel(level.upper())

    def hide(self, secret: str) -> None:
        """Never write it."""
        self._secrets.add(secret)


def _terminal_format() -> logging.Formatter:
    plain = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    plain.converter = time.gmtime
    return plain
