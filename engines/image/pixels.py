"""Frames as people hand them over, to frames as the engine wants them."""

from __future__ import annotations

import numpy as np

from driftcam.engines.api.errors import ParameterError

MAX_SIDE = 8192


def as_rgb(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) u8 RGB. Grey is repeated, alpha is left out, floats in [0, 1] are scaled.

    A u8 RGB frame is handed back as it is. Raises `ParameterError` for everything that is no
    picture: other types, other numbers of channels, empty or huge frames, NaN or infinity.
    """
    if not isinstance(frame, np.ndarray):
        raise ParameterError("frame", type(frame).__name__, "give a NumPy array")
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3, 4)):
        raise ParameterError("frame shape", frame.shape, "give (H, W), or (H, W, C) with 1, 3 or 4 channels")
    if not all(1 <= side <= MAX_SIDE for side in frame.shape[:2]):
        raise ParameterError("frame shape", frame.shape, f"give sides from 1 to {MAX_SIDE}")
    if frame.dtype == np.uint8:
        pixels = frame
    elif frame.dtype.kind == "f":
        if not np.isfinite(frame).all():
            raise ParameterError("frame", "NaN or infinite pixels", "give finite numbers from 0 to 1")
        pixels = (np.clip(frame, 0, 1) * 255 + 0.5).astype(np.uint8)
    else:
        raise ParameterError("frame type", str(frame.dtype), "give uint8, or floats from 0 to 1")
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return pixels[..., :3]
