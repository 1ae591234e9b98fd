"""Still pictures that a person gave for a session, such as a style. Blocking: call it in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from driftcam.engines.api import ParameterError
from driftcam.engines.api.planes import KNOWN, STYLE_PICTURE, Lifetime, PixelFormat, Plane, Scaling
from driftcam.webrtc.shown import over

MAX_BYTES = 16 * 1024 * 1024
LONGEST_SIDE = 512
PAPER = (255, 255, 255)  # behind what is transparent
_READ_AS = {
    PixelFormat.RGB24: cv2.IMREAD_COLOR,
    PixelFormat.GRAY8: cv2.IMREAD_GRAYSCALE,
    PixelFormat.GRAY16: cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH,
}


def session_plane(name: object, read: Mapping[str, Plane] | None) -> Plane:
    """That a person may give for a whole session; `read` are those of the engine. Raises `ParameterError`."""
    planes = {plane.name: plane for plane in (*KNOWN.values(), *(read or {}).values())}
    plane = planes.get(name) if isinstance(name, str) else None
    if plane is None:
        choices = [plane.name for plane in planes.values() if plane.lifetime is Lifetime.SESSION]
        raise ParameterError("plane", name, f"there is no such plane; choose from: {', '.join(choices)}")
    if plane.lifetime is not Lifetime.SESSION:
        raise ParameterError("plane", name, "it belongs to a frame; send it with FRAME over the bus (docs/bus.md)")
    return plane


def decode_plane(data: bytes, plane: Plane, name: str, field: str | None = None) -> np.ndarray:
    """A still picture as pixels of `plane`, at most `LONGEST_SIDE` wide and high. Raises `ParameterError`."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _READ_AS[plane.format])
    except cv2.error:  # nothing in it, or more pixels than `daemon` allows
        image = None
    if image is None:
        advice = "it is not a picture that can be read; give a JPEG, PNG or WebP"
        raise ParameterError(field or plane.name, name, advice)
    if plane.format is PixelFormat.RGB24:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        if (alpha := _alpha(data)) is not None and alpha.shape == image.shape[:2]:
            image = over(np.dstack([image, alpha]), PAPER)
    if plane.format is PixelFormat.GRAY16 and image.dtype == np.uint8:
        image = image.astype(np.uint16) * 257
    return shrunk(image, plane)


def _alpha(data: bytes) -> np.ndarray | None:
    """(H, W) uint8, where a picture has transparent parts; what colours they hide is not to be seen."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        return None
    return (image[..., 3] // (257 if image.dtype == np.uint16 else 1)).astype(np.uint8)


def shrunk(image: np.ndarray, plane: Plane) -> np.ndarray:
    """At most `LONGEST_SIDE` pixels wide and high."""
    height, width = image.shape[:2]
    scale = LONGEST_SIDE / max(width, height)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if plane.scaling is Scaling.AREA else cv2.INTER_NEAREST_EXACT
    return cv2.resize(image, size, interpolation=how)


def decode_picture(data: bytes, name: str, field: str = "style_image") -> np.ndarray:
    """The picture of a style, or of a look, RGB. Raises `ParameterError` for `field`."""
    return decode_plane(data, KNOWN[STYLE_PICTURE], name, field)


def read_picture(path: Path, field: str = "style_image") -> np.ndarray:
    """From a file. Raises `ParameterError` for `field`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ParameterError(field, str(path), f"give a picture of at most {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise ParameterError(field, str(path), f"it cannot be read ({error.strerror})") from None
    return decode_picture(data, str(path), field)
