"""What NVIDIA's driver says about the GPUs, nothing where there is none."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """At this moment.

    Attributes:
        name: number and model.
        memory_used, memory_total: bytes, of all programs.
        utilisation: share of the time that it works, 0 to 1.
    """

    name: str
    memory_used: int
    memory_total: int
    utilisation: float


def gpus() -> list[Gpu]:
    """All that can be asked. Blocking for a moment."""
    library = _library()
    found: list[Gpu] = []
    if library is None:
        return found
    with contextlib.suppress(library.NVMLError):
        for number in range(library.nvmlDeviceGetCount()):
            handle = library.nvmlDeviceGetHandleByIndex(number)
            memory = library.nvmlDeviceGetMemoryInfo(handle)
            share = library.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            name = f"{number} {library.nvmlDeviceGetName(handle)}"
            found.append(Gpu(name, int(memory.used), int(memory.total), share))
    return found


@functools.cache
def _library() -> Any:
    """NVML, opened once; None without it or without a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
    return pynvml
