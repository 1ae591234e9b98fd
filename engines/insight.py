"""What the noise of a stream is doing, as two small pictures for people who want to see it."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np

from driftcam.engines.motion.flow import Motion
from driftcam.engines.motion.stage import FrameMotion

WIDEST = 160  # pixels
FULL_SPEED = 12.0  # pixels of the working size per frame that are shown at full brightness


def insight(motion: FrameMotion, noise: np.ndarray) -> dict[str, Any]:
    """For JSON. `motion`: of the last frame; `noise`: (steps, C, h, w), standard normal."""
    return {
        "flow": _png(flow_picture(motion.flow)) if motion.flow is not None else None,
        "noise": _png(noise_picture(noise)),
        "cut": motion.cut,
    }


def flow_picture(motion: Motion) -> np.ndarray:
    """RGBA (h, w, 4) uint8: direction as colour, speed as opacity; places that are not trusted are paler."""
    height, width = motion.forward.shape[:2]
    scale = min(1.0, WIDEST / width)
    size = round(width * scale), round(height * scale)
    flow = cv2.resize(motion.forward, size, interpolation=cv2.INTER_AREA)
    trust = cv2.resize(motion.confidence, size, interpolation=cv2.INTER_AREA)
    speed, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1], angleInDegrees=True)
    hue = np.stack([angle / 2, np.full_like(angle, 255), np.full_like(angle, 255)], axis=-1).astype(np.uint8)
    colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)
    alpha = np.minimum(speed / FULL_SPEED, 1.0) ** 0.5 * (0.3 + 0.7 * trust) * 255
    return np.dstack([colour, alpha.astype(np.uint8)])


def noise_picture(noise: np.ndarray) -> np.ndarray:
    """RGB (h, w, 3) uint8 of the first three channels of the first step; ±2.5 σ is black to white."""
    channels = noise[0, np.arange(3) % noise.shape[1]]
    return np.clip((channels.transpose(1, 2, 0) / 5 + 0.5) * 255, 0, 255).astype(np.uint8)


def _png(image: np.ndarray) -> str:
    to_bgr = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, data = cv2.imencode(".png", cv2.cvtColor(image, to_bgr))
    return base64.b64encode(data.tobytes()).decode()
