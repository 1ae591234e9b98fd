"""A decoded frame as a player shows it: its shape, colours, fields, turn and transparency.

FFmpeg's filters do the work; what is nothing special, nearly every frame, is converted in one step.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph

RGB, BT709, UNSPECIFIED, BT470BG, BT2020 = 0, 1, 2, 5, 9  # ITU-T H.273, matrix coefficients
PQ, HLG = 16, 18  # and transfer characteristics
HD = (1280, 576)  # untagged pictures that are wider or higher are BT.709, as players have it
BLACK = (0, 0, 0)
WHITE_NITS, PEAK_NITS = 203, 1000  # BT.2408: a white sheet, and the display that HLG is for
GRID = 49  # points on a side of the table of colours
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087
_PLAIN_TURN = (1, 0, 0, 1)


@dataclass(frozen=True)
class Look:
    """All that a frame's filters depend on.

    Attributes:
        matrix, full: of YCbCr, and whether its values begin at 0.
        transfer: `PQ`, `HLG`, or 0 for what screens show as it is.
        size: of square pixels, (width, height).
        turn: signs of the display matrix, a b c d.
        fields: interlaced.
        alpha: some of it is transparent.
    """

    width: int
    height: int
    format: str
    matrix: int
    full: bool
    transfer: int
    size: tuple[int, int]
    turn: tuple[int, int, int, int]
    fields: bool
    alpha: bool

    @property
    def plain(self) -> bool:
        shaped = self.size == (self.width, self.height) and self.turn == _PLAIN_TURN
        return shaped and not (self.transfer or self.fields)


class Shown:
    """Converts the frames of one stream, from one thread at a time.

    Args:
        aspect: of a pixel, where the stream says so; of a frame nothing is known.
        guess_hd: an untagged large picture is BT.709, as in files and cameras.
        background: behind what is transparent.
    """

    def __init__(
        self,
        aspect: Fraction | None = None,
        *,
        guess_hd: bool = True,
        background: tuple[int, int, int] = BLACK,
    ) -> None:
        self._aspect, self._guess_hd, self._background = aspect, guess_hd, background
        self._look: Look | None = None
        self._graph: Graph | None = None
        self._fields = False

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """RGB, (H, W, 3) uint8. Raises `av.FFmpegError` for what cannot be converted."""
        self._fields |= frame.interlaced_frame  # for good: many streams mix
        look = look_of(frame, self._aspect, self._fields, guess_hd=self._guess_hd)
        if look != self._look:
            self._look, self._graph = look, None if look.plain else graph(look)
        frame.colorspace = look.matrix
        pixels = "rgba" if look.alpha else "rgb24"
        if self._graph is None:
            image = frame.to_ndarray(format=pixels)
        else:
            image = self._filtered(frame, look).to_ndarray(format=pixels)
        return over(image, self._background) if look.alpha else image

    def _filtered(self, frame: av.VideoFrame, look: Look) -> av.VideoFrame:
        assert self._graph is not None
        if look.fields:  # a deinterlacer wants to see the next frame: it sees the same again, and nothing is late
            self._graph.push(frame)
        self._graph.push(frame)
        result = self._graph.vpull()
        while True:
            try:
                result = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return result


def look_of(frame: av.VideoFrame, aspect: Fraction | None, fields: bool, *, guess_hd: bool = True) -> Look:
    """What is to be done to `frame`."""
    width, height = frame.width, frame.height
    alpha = any(part.is_alpha for part in frame.format.components) or frame.format.has_palette
    matrix = int(frame.colorspace)
    if matrix == UNSPECIFIED and not frame.format.is_rgb:
        large = guess_hd and (width >= HD[0] or height > HD[1])
        matrix = BT709 if large and int(frame.color_range) != 2 else BT470BG
    transfer = int(frame.color_trc) if int(frame.color_trc) in (PQ, HLG) else 0
    full = int(frame.color_range) == 2
    size = square(width, height, aspect)
    return Look(width, height, frame.format.name, matrix, full, transfer, size, turn_of(frame), fields, alpha)


def square(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """The size in square pixels: one side is stretched, none shrunk."""
    if not aspect or aspect == 1 or not Fraction(1, 4) <= aspect <= 4:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def turn_of(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Signs of the display matrix (ISO 14496-12): a pixel (x, y) is shown at (ax + cy, bx + dy)."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _PLAIN_TURN
    a, b, _, c, d, *_ = np.frombuffer(data, np.int32, 9).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def graph(look: Look) -> Graph:
    """From frames of this look to RGB."""
    made, steps = Graph(), list(filters(look))
    source = f"video_size={look.width}x{look.height}:pix_fmt={look.format}:time_base=1/1000"
    last = made.add("buffer", f"{source}:colorspace={look.matrix}:range={'pc' if look.full else 'tv'}")
    with tempfile.NamedTemporaryFile("w", suffix=".cube") as table:
        if look.transfer:
            write_table(table, look.transfer)
        for name, arguments in steps:
            step = made.add(name, arguments.format(table=table.name))
            last.link_to(step)
            last = step
        last.link_to(made.add("buffersink"))
        made.configure()
    return made


def filters(look: Look) -> list[tuple[str, str]]:
    """Names and arguments, in order."""
    a, b, c, d = look.turn
    chosen = [("bwdif", "mode=send_frame:deint=all")] if look.fields else []
    if look.transfer:
        chosen += [("format", "gbrp16le"), ("lut3d", "file={table}:interp=tetrahedral")]
    if look.size != (look.width, look.height):
        chosen.append(("scale", f"{look.size[0]}:{look.size[1]}"))
    chosen.append(("format", "rgba" if look.alpha else "rgb24"))
    if b or c:
        chosen.append(("transpose", "cclock_flip"))  # across the main diagonal
    if a < 0 or c < 0:
        chosen.append(("hflip", ""))
    if b < 0 or d < 0:
        chosen.append(("vflip", ""))
    return chosen


def over(image: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """RGBA (H, W, 4) uint8 over a colour; RGB."""
    alpha = image[..., 3:].astype(np.uint16)
    mixed = image[..., :3] * alpha + np.asarray(background, np.uint16) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def write_table(file: tempfile._TemporaryFileWrapper, transfer: int) -> None:
    """A 3-D table in Adobe's .cube format: BT.2020 in PQ or HLG to BT.709 on a usual screen, white at `WHITE_NITS`."""
    axis = np.linspace(0, 1, GRID)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red runs fastest
    table = screen(np.stack([red, green, blue], -1).reshape(-1, 3), transfer)
    file.write(f"LUT_3D_SIZE {GRID}\n")
    np.savetxt(file, table, "%.5f")
    file.flush()


def screen(signal: np.ndarray, transfer: int) -> np.ndarray:
    """(n, 3) signals of BT.2100, 0 to 1, as those of a BT.709 screen (BT.1886); brighter than white is cut."""
    light = _pq_light(signal) if transfer == PQ else _hlg_light(signal)
    return np.clip(light @ _TO_709.T, 0, 1) ** (1 / 2.4)


def _pq_light(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, 1 being white."""
    m1, m2, c1, c2, c3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / WHITE_NITS


def _hlg_light(signal: np.ndarray) -> np.ndarray:
    """ARIB STD-B67 as BT.2100 shows it at `PEAK_NITS`, 1 being white."""
    a, b = 0.17883277, 0.28466892
    c = 0.5 - a * math.log(4 * a)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return scene * luminance[:, None] ** 0.2 * PEAK_NITS / WHITE_NITS
