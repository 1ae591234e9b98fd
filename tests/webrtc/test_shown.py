"""A frame as players show it, against the formulas of the standards, written out here in double precision."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from driftcam.webrtc.shown import PQ, Shown, square

HLG = 18
KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # H.273
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
COLOURS = [(220, 30, 30), (30, 200, 60), (20, 40, 230), (255, 255, 255), (128, 128, 128), (0, 0, 0)]


def ycbcr(signal: np.ndarray, matrix: int, bits: int = 8, full: bool = False) -> list[int]:
    """Of (3,) RGB from 0 to 1."""
    kr, kb = KR_KB[matrix]
    y = signal @ np.array([kr, 1 - kr - kb, kb])
    cb, cr = (signal[2] - y) / (2 * (1 - kb)), (signal[0] - y) / (2 * (1 - kr))
    unit = 2 ** (bits - 8)
    if full:
        top = 2**bits - 1
        return [round(top * y), *(round(min(128 * unit + top * c, top)) for c in (cb, cr))]
    return [round(unit * (16 + 219 * y)), *(round(unit * (128 + 224 * c)) for c in (cb, cr))]


def even(values: list[int], size: tuple[int, int] = (64, 48), pixels: str = "yuv420p") -> av.VideoFrame:
    """All of one colour."""
    frame = av.VideoFrame(*size, pixels)
    kind = np.uint16 if "10" in pixels else np.uint8
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full((plane.height, plane.line_size // np.dtype(kind).itemsize), value, kind).tobytes())
    return frame


def tagged(
    frame: av.VideoFrame, matrix: int = 2, full: int = 0, transfer: int = 2, primaries: int = 2
) -> av.VideoFrame:
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = matrix, full, transfer, primaries
    return frame


def difference(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int(np.abs(image[8:-8, 8:-8].astype(int) - np.array(colour)).max())


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_a_tagged_picture_has_the_colours_of_its_matrix_and_range(
    colour: tuple[int, int, int], matrix: int, full: bool
) -> None:
    frame = even(ycbcr(np.array(colour) / 255, matrix, full=full))
    assert difference(Shown()(tagged(frame, matrix, 2 if full else 1)), colour) <= 3


@pytest.mark.parametrize("colour", COLOURS[:3])
@pytest.mark.parametrize(
    ("size", "matrix", "guess"),
    [
        ((640, 480), 6, True),
        ((720, 576), 6, True),
        ((1280, 720), 1, True),
        ((1920, 1080), 1, True),
        ((704, 1280), 1, True),
        ((1280, 720), 6, False),  # as browsers send
    ],
)
def test_an_untagged_picture_is_taken_for_what_its_size_says(
    colour: tuple[int, int, int], size: tuple[int, int], matrix: int, guess: bool
) -> None:
    frame = even(ycbcr(np.array(colour) / 255, matrix), size)
    assert difference(Shown(guess_hd=guess)(tagged(frame)), colour) <= 3


def pq(light: np.ndarray) -> np.ndarray:
    """BT.2100, of nits."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    y = (light / 10_000) ** m1
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m2


def hlg(light: np.ndarray) -> np.ndarray:
    """BT.2100, of nits on a display of 1000."""
    display = light / 1000
    luminance = max(float(display @ np.array([0.2627, 0.6780, 0.0593])), 1e-12)
    scene = display * luminance ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    high = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("transfer", "encode"), [(PQ, pq), (HLG, hlg)])
def test_ten_bit_pq_and_hlg_look_as_they_do_on_a_usual_screen(colour, transfer, encode) -> None:
    signal = encode(TO_2020 @ (np.array(colour) / 255) ** 2.4 * 203)
    frame = tagged(even(ycbcr(signal, 9, bits=10), pixels="yuv420p10le"), 9, 1, transfer, 9)
    assert difference(frame.to_ndarray(format="rgb24"), colour) > 15 or colour == (0, 0, 0), "it is not so by itself"
    assert difference(Shown()(frame), colour) <= 6


def test_pixels_that_are_not_square_are_made_so() -> None:
    frame = av.VideoFrame.from_ndarray(np.zeros((576, 720, 3), np.uint8), format="rgb24")
    assert Shown(Fraction(64, 45))(frame).shape == (576, 1024, 3)
    assert Shown(Fraction(1, 2))(frame).shape == (1152, 720, 3)
    for none in (None, Fraction(0), Fraction(1), Fraction(1, 1000)):
        assert square(720, 576, none) == (720, 576)


def test_the_fields_of_what_moves_are_not_combed_and_nothing_is_late() -> None:
    """An edge that moves 12 pixels between two fields."""
    shown = Shown()
    for number in range(4):
        image = np.zeros((96, 160, 3), np.uint8)
        edge = 16 + 24 * number
        image[0::2, :edge] = 255
        image[1::2, : edge + 12] = 255
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        combed = np.abs(np.diff(Shown()(frame)[..., 0].astype(int), axis=0))[:, edge + 6].mean()
        result = shown(as_interlaced(frame))
        smooth = np.abs(np.diff(result[..., 0].astype(int), axis=0))[:, edge + 6].mean()
        assert combed > 100 and smooth < 30
        assert result[48, edge - 4, 0] > 200 and result[48, edge + 16, 0] < 50, "it is this frame, not the one before"
        assert result.shape == image.shape


def as_interlaced(frame: av.VideoFrame) -> av.VideoFrame:
    """Through a coder that says so: PyAV cannot set it."""
    coder = av.CodecContext.create("mpeg2video", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = frame.width, frame.height, "yuv420p", Fraction(1, 25)
    coder.bit_rate, coder.gop_size = 20_000_000, 1
    coder.options = {"flags": "+ildct+ilme", "field_order": "tt"}
    frame.pts = 0
    graph = av.filter.Graph()
    source = graph.add("buffer", f"video_size={frame.width}x{frame.height}:pix_fmt=yuv420p:time_base=1/25")
    fields, sink = graph.add("setfield", "tff"), graph.add("buffersink")
    source.link_to(fields)
    fields.link_to(sink)
    graph.configure()
    graph.push(frame)
    packets = [*coder.encode(graph.vpull()), *coder.encode(None)]
    decoder = av.CodecContext.create("mpeg2video", "r")
    (decoded,) = [each for packet in [*packets, None] for each in decoder.decode(packet)]
    assert decoded.interlaced_frame
    return decoded


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
@pytest.mark.parametrize("pixels", ["rgba", "yuva420p"])
def test_what_is_transparent_shows_the_background_and_not_the_colours_beneath(background, pixels) -> None:
    image = np.zeros((48, 96, 4), np.uint8)
    image[..., 0] = 255
    image[:, 32:64, 3], image[:, 64:, 3] = 128, 255
    frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format=pixels)
    result = Shown(background=background)(frame)
    half = tuple((a * 128 + b * 127) // 255 for a, b in zip((255, 0, 0), background, strict=True))
    for column, wanted in ((16, background), (48, half), (80, (255, 0, 0))):
        assert np.abs(result[24, column].astype(int) - np.array(wanted)).max() <= 4


def test_a_stream_may_change_what_it_is() -> None:
    shown = Shown()
    for size in ((64, 48), (96, 64), (64, 48)):
        assert shown(tagged(even(ycbcr(np.array([1.0, 0, 0]), 1), size), 1)).shape == (size[1], size[0], 3)
    ten = tagged(even(ycbcr(pq(np.array([203.0] * 3)), 9, bits=10), pixels="yuv420p10le"), 9, 1, PQ, 9)
    assert difference(shown(ten), (255, 255, 255)) <= 6
    assert difference(shown(tagged(even([235, 128, 128]), 1)), (255, 255, 255)) <= 2


def test_a_plain_frame_is_converted_in_one_step() -> None:
    shown = Shown()
    shown(tagged(even([100, 128, 128]), 1))
    assert shown._graph is None, "no filter where there is nothing to do"
