"""Numba's kernels, kept on the disk where there is a place for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

if os.path.expanduser("~") == "~":  # a user without a home, for whom libraries make a folder of that name
    os.environ.setdefault("XDG_CACHE_HOME", "/nonexistent")

import numba

log = logging.getLogger("driftcam")
ADVICE = "set NUMBA_CACHE_DIR to a folder that can be written"
problem = ""
"""Why kernels are not kept; empty where they are."""


def njit(**options: Any) -> Callable:
    """`numba.njit`, cached; where no folder can be written (a read-only installation, a home that is not there) each
    process compiles for itself."""

    def compiled(function: Callable) -> Any:
        global problem
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:  # no locator of numba's finds a folder
            if not problem:
                problem = str(error).split(":")[0]
                log.warning("kernels cannot be kept: each start compiles them, a quarter of a minute; %s", ADVICE)
            return numba.njit(**options)(function)

    return compiled
