"""The pictures of the styles: the page's gallery, and the README's grids, as a live stream shows them by default.

python -m scripts.style_pictures    (a minute on two cores; rewrites webrtc/page/styles and docs/embedded)

Everything is painted by the engine with the parameters that a stream starts with, at 512², of two things that the
model never saw in training: a face, and a frame of the shipped clip.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from driftcam import Engine, Parameters
from driftcam.engines.api.styles import STYLE_NAMES
from scripts.demo import CLIP, SHEET_FRAME, frame_of

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "webrtc" / "page" / "styles"
DOCS = ROOT / "docs" / "embedded"
FACE = ROOT / "tests" / "data" / "astronaut.jpg"
SIDE, TILE = 512, 192
THUMBNAIL = (256, 192)  # sharp where a display has two or three pixels to one of the page, whose tiles are 96 wide
COLUMNS = 9


def main() -> None:
    painter = Painter()
    face, clip = photographs()
    painted = {name: painter.paint(face, styles=((name, 1.0),)) for name in STYLE_NAMES}
    for name, picture in painted.items():
        save(GALLERY / f"{name}.jpg", thumbnail(picture), 76)
    tiles = [labelled(face, "photograph"), *(labelled(picture, name) for name, picture in painted.items())]
    save(DOCS / "styles.jpg", grid(tiles, COLUMNS), 80)
    save(DOCS / "axes.jpg", axes(painter, [(face, "autumn-oil"), (clip, "great-wave")]), 84)


class Painter:
    """The engine's picture of a photograph, in a stream of its own, so that all have the same noise."""

    def __init__(self) -> None:
        self._engine = Engine(Parameters(width=SIDE, height=SIDE))

    def paint(self, photograph: np.ndarray, **parameters) -> np.ndarray:
        """(SIDE, SIDE, 3) u8. `parameters` are those that differ from the defaults."""
        self._engine.update(Parameters(width=SIDE, height=SIDE, noise="fixed").replace(**parameters))
        return self._engine.step(photograph).copy()


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """A face and a frame of the clip, square, (SIDE, SIDE, 3) u8 RGB."""
    face = cv2.imread(str(FACE))
    assert face is not None
    frame = frame_of(CLIP, SHEET_FRAME)
    left = (frame.shape[1] - frame.shape[0]) // 2
    return _square(face[:340, 64:404, ::-1]), _square(frame[:, left : left + frame.shape[0]])


def axes(painter: Painter, subjects: list[tuple[np.ndarray, str]]) -> np.ndarray:
    """A row for each subject and style: what strength, steps, freedom and the seed do."""
    looks: list[tuple[str, dict]] = [("by default", {})]
    looks += [(f"strength {value}", {"strength": value}) for value in (0.4, 0.6, 1.0)]
    looks += [(f"{count} steps", {"steps": count}) for count in (2, 4)]
    free = {"strength": 1.0, "steps": 2, "freedom": 0.7}
    looks += [("freedom 0.7, strength 1", free), ("the same, seed 1", free | {"seed": 1})]
    tiles = []
    for photograph, style in subjects:
        tiles.append(labelled(photograph, "photograph"))
        for words, values in looks:
            tiles.append(labelled(painter.paint(photograph, styles=((style, 1.0),), **values), words))
    return grid(tiles, len(looks) + 1)


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """The upper three quarters, where the face is."""
    height = SIDE * THUMBNAIL[1] // THUMBNAIL[0]
    return cv2.resize(picture[:height], THUMBNAIL, interpolation=cv2.INTER_AREA)


def labelled(picture: np.ndarray, words: str) -> np.ndarray:
    tile = cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)
    bar = np.full((22, TILE, 3), 24, np.uint8)
    cv2.putText(bar, words, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([tile, bar])


def grid(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def save(path: Path, picture: np.ndarray, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def _square(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main()
