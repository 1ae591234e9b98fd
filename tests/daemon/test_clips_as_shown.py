"""Clips and style pictures come as players show them: through the source, from files."""

from __future__ import annotations

import struct
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from driftcam.daemon.pictures import read_picture
from driftcam.daemon.sources.clip import ClipSource
from tests.webrtc.test_shown import PQ, TO_2020, even, pq, tagged, ycbcr

RED = (220, 30, 30)


def write(path: Path, frame: av.VideoFrame, codec: str = "libx264", **settings: object) -> Path:
    """A clip of three such frames; `settings` of the codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"qp": "0"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number in range(3):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def first(path: Path) -> np.ndarray:
    source = ClipSource(str(path), lambda line: None)
    image = next(source.frames(threading.Event(), paced=False)).image
    assert (source.info.height, source.info.width) == image.shape[:2]
    source.close()
    return image


def near(image: np.ndarray, colour: tuple[int, int, int], most: int = 6) -> bool:
    return int(np.abs(image[8:-8, 8:-8].astype(int) - np.array(colour)).max()) <= most


def test_an_anamorphic_circle_is_round(tmp_path: Path) -> None:
    round_one = np.zeros((576, 1024, 3), np.uint8)
    cv2.circle(round_one, (512, 288), 200, (255, 255, 255), -1)
    frame = av.VideoFrame.from_ndarray(cv2.resize(round_one, (720, 576)), format="rgb24").reformat(format="yuv420p")
    path = write(tmp_path / "sar.mp4", frame, sample_aspect_ratio=Fraction(64, 45))
    image = first(path)
    rows, columns = np.nonzero(image[..., 0] > 128)
    assert image.shape == (576, 1024, 3) and abs(np.ptp(rows) - np.ptp(columns)) <= 4


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_an_untagged_clip_has_the_colours_of_its_size(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = even(ycbcr(np.array(RED) / 255, 1 if size[1] > 576 else 6), size)
    assert near(first(write(tmp_path / "plain.mp4", tagged(frame))), RED)


def test_a_ten_bit_clip_is_not_washed_out(tmp_path: Path) -> None:
    signal = pq(TO_2020 @ (np.array(RED) / 255) ** 2.4 * 203)
    frame = tagged(even(ycbcr(signal, 9, bits=10), pixels="yuv420p10le"), 9, 1, PQ, 9)
    tags = {"colorspace": 9, "color_range": 1, "color_trc": PQ, "color_primaries": 9}
    assert near(first(write(tmp_path / "hdr.mp4", frame, **tags)), RED)


# What is shown of an upper left, upper right / lower left, lower right corner of 1, 2 / 3, 4.
MATRICES = {
    (1, 0, 0, 1): [[1, 2], [3, 4]],
    (-1, 0, 0, 1): [[2, 1], [4, 3]],
    (1, 0, 0, -1): [[3, 4], [1, 2]],
    (-1, 0, 0, -1): [[4, 3], [2, 1]],
    (0, 1, 1, 0): [[1, 3], [2, 4]],
    (0, 1, -1, 0): [[3, 1], [4, 2]],
    (0, -1, 1, 0): [[2, 4], [1, 3]],
    (0, -1, -1, 0): [[4, 2], [3, 1]],
}


@pytest.mark.parametrize("matrix", list(MATRICES))
def test_a_clip_is_turned_and_mirrored_as_its_matrix_says(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """ISO 14496-12, 6.2.2: (x, y) is shown at (ax + cy, bx + dy), moved to where it can be seen."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48], image[:32, 48:], image[32:, :48], image[32:, 48:] = 40, 90, 140, 190
    path = write(tmp_path / "turned.mp4", av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    shown = first(path)
    assert shown.shape[:2] == ((96, 64) if matrix[0] == 0 else (64, 96))
    height, width = shown.shape[:2]
    corners = [[shown[y, x, 0] for x in (8, width - 8)] for y in (8, height - 8)]
    assert [[round((value - 40) / 50) + 1 for value in row] for row in np.array(corners).astype(int)] == MATRICES[
        matrix
    ]


def test_the_transparent_part_of_a_clip_is_black(tmp_path: Path) -> None:
    image = np.zeros((48, 96, 4), np.uint8)
    image[..., 0], image[:, 48:, 3] = 255, 255
    frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format="argb")
    shown = first(write(tmp_path / "alpha.mov", frame, codec="qtrle"))
    assert shown[24, 16].tolist() == [0, 0, 0] and shown[24, 80].tolist() == [255, 0, 0]


@pytest.mark.parametrize("deep", [False, True])
def test_colours_that_a_style_picture_hides_are_not_its_style(tmp_path: Path, deep: bool) -> None:
    image = np.zeros((48, 96, 4), np.uint16 if deep else np.uint8)
    image[..., 2] = 65535 if deep else 255  # BGRA: red everywhere, half of it to be seen
    image[:, 48:, 3] = 65535 if deep else 255
    cv2.imwrite(str(tmp_path / "logo.png"), image)
    picture = read_picture(tmp_path / "logo.png")
    assert picture[24, 16].tolist() == [255, 255, 255] and picture[24, 80].tolist() == [255, 0, 0]
