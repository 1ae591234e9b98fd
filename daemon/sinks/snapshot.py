"""A single result as a picture file."""

from __future__ import annotations

import cv2
import numpy as np

from driftcam.engines.api import ParameterError

FORMATS = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 3], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95]}


def encode_snapshot(image: np.ndarray, suffix: str) -> bytes:
    """RGB (H, W, 3) u8 as a `.png` or `.jpg`. Raises `ParameterError` for another suffix."""
    suffix = {".jpeg": ".jpg"}.get(suffix.lower(), suffix.lower())
    if suffix not in FORMATS:
        raise ParameterError("snapshot", suffix, "use a name that ends in .png or .jpg")
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), FORMATS[suffix])
    return data.tobytes()
