"""A moving picture of what the memory does: without and with it, side by side.

    python -m scripts.memory_clip docs/memory.webp

Painted as a live stream starts, of a clip that training never saw: Big Buck Bunny, © Blender Foundation, CC BY 3.0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from driftcam import Engine, Parameters
from scripts import bench_coherence as coherence
from scripts.training import data

CLIP, FIRST, COUNT = "bigbuckbunny.mp4", 40, 60
HEIGHT, WIDTH, SHOWN_MS, QUALITY = 256, 320, 60, 96


def main(path: Path) -> None:
    data.fetch(coherence.BUILD)
    capture = cv2.VideoCapture(str(next(coherence.BUILD.glob(f"**/{CLIP}"))))
    capture.set(cv2.CAP_PROP_POS_FRAMES, FIRST)
    frames = [np.ascontiguousarray(capture.read()[1][..., ::-1]) for _ in range(COUNT)]
    looks = [Parameters(width=WIDTH, height=HEIGHT, memory=memory) for memory in (0.0, Parameters().memory)]
    engines = [Engine(look) for look in looks]
    pairs = [np.hstack([engine.step(frame) for engine in engines])[..., ::-1] for frame in frames]
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(pair) for pair in pairs]
    animation.durations = [SHOWN_MS] * COUNT
    cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
