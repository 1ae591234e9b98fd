"""The teachers of the looks before they teach: a face by each of them, and how much each flickers on a clip.

    python -m scripts.look_sheet OUTPUT.png

Flicker is the mean change from one frame of the clip to the next, painted ÷ filmed: 1 changes as its input does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from scripts.demo import CLIP, frame_of
from scripts.style_pictures import grid, labelled, photographs, save
from scripts.training.looks import LOOKS, Look

SIDE, FRAMES, FIRST, COLUMNS = 256, 4, 10, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    face = photographs()[0]
    frames = [_small(frame_of(CLIP, FIRST + k)) for k in range(FRAMES)]
    tiles = [labelled(face, "photograph")]
    for look in LOOKS:
        tiles.append(labelled(look.teach(_small(face)), look.name))
        print(f"{look.name:14} flicker {flicker(look, frames):.2f}", flush=True)
    save(output, grid(tiles, COLUMNS), 90)


def flicker(look: Look, frames: list[np.ndarray]) -> float:
    """Of (H, W, 3) u8 pictures in a row."""
    painted = [look.teach(frame) for frame in frames]
    return _change(painted) / _change(frames)


def _change(frames: list[np.ndarray]) -> float:
    return float(np.abs(np.diff(np.stack(frames).astype(np.float32), axis=0)).mean())


def _small(picture: np.ndarray) -> np.ndarray:
    side = min(picture.shape[:2])
    return cv2.resize(np.ascontiguousarray(picture[:side, :side]), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
