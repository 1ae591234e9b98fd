"""A single result as a picture file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import cv2
import numpy as np

from driftcam.daemon.errors import RunError
from driftcam.engines.api import ParameterError

FORMATS = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 3], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95]}


def encode_snapshot(image: np.ndarray, suffix: str) -> bytes:
    """RGB (H, W, 3) u8 as a `.png` or `.jpg`. Raises `ParameterError` for another suffix."""
    suffix = {".jpeg": ".jpg"}.get(suffix.lower(), suffix.lower())
    if suffix not in FORMATS:
        raise ParameterError("snapshot", suffix, "use a name that ends in .png or .jpg")
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), FORMATS[suffix])
    return data.tobytes()


def write_snapshot(image: np.ndarray, path: Path) -> None:
    """Blocking: call it in a thread. The file appears whole or not at all; an older one is replaced.

    Raises `ParameterError` for a name that cannot be used, `RunError` where the disk fails.
    """
    data = encode_snapshot(image, path.suffix)
    if not path.parent.is_dir():
        raise ParameterError("snapshot", str(path), f"there is no folder {str(path.parent)!r}")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path}: the snapshot could not be written ({error.strerror})") from None
