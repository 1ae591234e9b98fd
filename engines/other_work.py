"""How busy others keep the machine meanwhile: what is measured beside them says little about the next start."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

CALM = 0.15  # of the machine; a camera and the daemon take less


class OtherWork:
    """From when it is made on, where the system tells it (Linux).

    Args:
        busy: seconds for which processors were busy, of all of them, or None where that is not known.
        own: those of this process.
    """

    def __init__(self, busy: Callable[[], float | None] | None = None, own: Callable[[], float] | None = None) -> None:
        self._busy, self._own = busy or busy_seconds, own or own_seconds
        self._began = self._busy(), self._own()

    def share(self, seconds: float, processors: int | None = None) -> float | None:
        """Of the processors' time in those `seconds` since it was made, what others have had: 0 to 1."""
        (busy, own), now = self._began, self._busy()
        if busy is None or now is None or seconds <= 0.0:
            return None
        others = (now - busy) - (self._own() - own)
        return max(0.0, others / (seconds * (processors or os.cpu_count() or 1)))


def busy_seconds() -> float | None:
    """Also time that a virtual machine was not given by its host."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        user, nice, system, _, _, interrupts, soft, steal = map(int, words[1:9])
        return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None


def own_seconds() -> float:
    times = os.times()
    return times.user + times.system
