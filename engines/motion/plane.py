"""What moved between two results, as it goes beside the second one to whoever makes pictures between them."""

from __future__ import annotations

import cv2
import numpy as np

# A picture of which less than this share is known from the one before shows another scene, or moved too fast to follow.
_SAME_SCENE = 0.2
# What moves less, in pixels, and in less than this share of the picture, does not move: sensors' noise makes as much.
_STILL_PIXELS, _STILL_SHARE = 0.25, 0.002


def motion_plane(
    flow: np.ndarray,
    surface: np.ndarray,
    size: tuple[int, int],
    offset: tuple[float, float],
    moved: tuple[float, float],
    shape: tuple[int, int],
) -> np.ndarray | None:
    """`engines.api.planes.MOTION` of a frame, or None where there is nothing to show between it and the one before.

    Args:
        flow: (h, w, 2) float32, backward, in pixels of the networks' picture.
        surface: (h, w) float32, 1 where both show the same.
        size: (H, W) of the networks' picture.
        offset: (x, y) pixels by which the frame lies right and down in it.
        moved: (x, y) pixels by which it lies further right and down than the frame before did.
        shape: (height, width) of the frame.
    """
    if cv2.mean(surface)[0] < _SAME_SCENE:
        return None
    down, across = flow.shape[0] / size[0], flow.shape[1] / size[1]
    plane = cv2.merge((*cv2.split(flow), surface))
    inside = max(1, round(shape[1] * across)), max(1, round(shape[0] * down))
    if offset != (0, 0) or inside != plane.shape[1::-1]:
        shift = np.array([[1, 0, offset[0] * across], [0, 1, offset[1] * down]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        plane = cv2.warpAffine(plane, shift, inside, flags=how, borderMode=cv2.BORDER_REPLICATE)
    x, y, same = cv2.split(plane)  # what has two numbers a pixel takes NumPy twenty times as long
    x += moved[0]
    y += moved[1]
    moves = np.count_nonzero(cv2.magnitude(x, y) > _STILL_PIXELS)
    return cv2.merge((x, y, same), dst=plane) if moves > _STILL_SHARE * x.size else None
