"""Where backends keep what takes long to make."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/driftcam`; one that cannot be made, for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftcam"
    except RuntimeError:
        return Path("/nonexistent/driftcam")


def engines_folder() -> Path:
    """Of TensorRT's engines."""
    return cache_folder() / "engines"
