"""What can be read once and in order: a pipe, a FIFO, standard input."""

from __future__ import annotations

import os
import select
import stat
import threading

LOOK_MS = 100


def read_once(path: str) -> bool:
    """Whether there is something at `path` that is no file to be read again."""
    mode = os.stat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


class Pipe:
    """As a file object for FFmpeg; nobody who writes is waited for once `stop` is set. Raises `OSError`."""

    def __init__(self, path: str, stop: threading.Event) -> None:
        self.stop = stop
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end, or when stopped."""
        while not self.stop.is_set():
            if self._poll.poll(LOOK_MS):
                try:
                    return os.read(self._descriptor, size)
                except BlockingIOError:  # another reader was quicker
                    pass
        return b""

    def close(self) -> None:
        os.close(self._descriptor)
