"""Reading a still picture that a person gave as a style. Blocking: call it in a thread."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from driftcam.engines.api import ParameterError

MAX_BYTES = 16 * 1024 * 1024
LONGEST_SIDE = 512


def decode_picture(data: bytes, name: str) -> np.ndarray:
    """RGB, at most `LONGEST_SIDE` pixels wide and high. Raises `ParameterError`."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # nothing in it, or more pixels than `daemon` allows
        image = None
    if image is None:
        raise ParameterError("style_image", name, "it is not a picture that can be read; give a JPEG, PNG or WebP")
    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_picture(path: Path) -> np.ndarray:
    """From a file. Raises `ParameterError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ParameterError("style_image", str(path), f"give a picture of at most {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise ParameterError("style_image", str(path), f"it cannot be read ({error.strerror})") from None
    return decode_picture(data, str(path))
