"""The picture that sinks show while there is no result: it says what is going on. Pure."""

from __future__ import annotations

import textwrap

import cv2
import numpy as np

BACKGROUND, INK, SOFT_INK = (28, 30, 38), (236, 236, 240), (168, 172, 184)
FONT, LINES_MOST = cv2.FONT_HERSHEY_SIMPLEX, 4


def placeholder(width: int, height: int, reason: str = "", title: str = "Driftcam") -> np.ndarray:
    """RGB (height, width, 3) u8: `title`, and `reason` below it in as many lines as it needs.

    OpenCV's letters are ASCII; others become question marks.
    """
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    big = min(width / 330, height / 150)
    small = big * 0.5
    letter = max(1, cv2.getTextSize("n", FONT, small, 1)[0][0])
    lines = textwrap.wrap(reason or "no picture at the moment", max(10, round(width * 0.85 / letter)))[:LINES_MOST]
    line_height = round(40 * small)
    y = height // 2 - line_height * len(lines) // 2
    _centred(image, title, y, big, INK)
    for number, line in enumerate(lines, 1):
        _centred(image, line, y + number * line_height, small, SOFT_INK)
    return image


def _centred(image: np.ndarray, text: str, y: int, scale: float, colour: tuple[int, int, int]) -> None:
    text = text.encode("ascii", "replace").decode()
    thickness = max(1, round(scale * 1.6))
    (width, _), _ = cv2.getTextSize(text, FONT, scale, thickness)
    cv2.putText(image, text, ((image.shape[1] - width) // 2, y), FONT, scale, colour, thickness, cv2.LINE_AA)
