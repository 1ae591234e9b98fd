"""How much memory this process took."""

from __future__ import annotations

import resource
import sys


def peak_memory_mb() -> int:
    """Largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)
