"""Train the embedded model: data, teacher pairs, autoencoder, flow, couples, reflow, decoder, weights, judgement, card.

    pip install -e '.[train]' && python -m scripts.train_embedded                 # from nothing
    python -m scripts.train_embedded --train more --output build/embedded/more    # from the shipped weights

Every stage is cached under `build/embedded` and resumes where it stopped; on two cores the whole
takes about two and a half hours. Needs Debian or Ubuntu (the photographs are in their packages).
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.engines.models.embedded.model import WEIGHTS, load_networks
from driftcam.engines.models.embedded.networks import Decoder, Encoder, FlowUNet
from scripts.training import autoencoder, card, data, flow, judge, looks, polish, reflow, teacher
from scripts.training.package import widened, write_weights

TRAIN = {
    "all": "from nothing",
    "more": "from the shipped weights, with the styles that they lack",
    "decoder": "the shipped weights' decoder alone",
}
SHARD = 100  # pairs in a file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/embedded"), help="cache and checkpoints")
    parser.add_argument("--train", choices=TRAIN, default="all", help="; ".join(f"{k}: {v}" for k, v in TRAIN.items()))
    parser.add_argument("--pairs", type=int, default=16000, help="photographs that the teachers paint")
    parser.add_argument("--autoencoder-minutes", type=float, default=20)
    parser.add_argument("--flow-minutes", type=float, default=75)
    parser.add_argument("--polish-minutes", type=float, default=15)
    parser.add_argument("--reflow-minutes", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder of the weights that are written")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    build: Path = options.build
    build.mkdir(parents=True, exist_ok=True)
    crops, pairs, held, by_style = prepare(build, options.pairs)
    photos, folder = crops["train"], build / options.train
    folder.mkdir(exist_ok=True)
    if options.train == "all":
        coder = autoencoder.train(folder, crops, pairs, held, options.autoencoder_minutes)
        encoder, decoder = coder.folded_encoder(), coder.decoder
        painter = flow.train(folder, encoder, photos, pairs, by_style, options.flow_minutes)
        before = decoder, painter
    else:
        encoder, decoder, shipped = load_networks(WEIGHTS)
        painter = widened(shipped, by_style)
        before = decoder, painter
        if options.train == "more":
            painter = flow.train(folder, encoder, photos, pairs, by_style, options.flow_minutes, painter)
    told = encoder, photos, pairs, by_style
    if options.train != "decoder":
        coupled = reflow.couples(folder / "couples.pt", painter, *told)
        painter = reflow.train(folder, painter, decoder, coupled, options.reflow_minutes)
    painted = reflow.couples(folder / "painted.pt", painter, *told, count=polish.PAINTED, steps=1)
    decoder = polish.train(
        folder, encoder, decoder, photos, pairs["stylised"], painted["latent"], options.polish_minutes
    )
    styles = len(STYLE_NAMES) if options.train == "decoder" else teacher.STYLES
    write_weights(options.output, encoder, decoder, painter, teacher.Teacher().predictor_path, styles)
    networks, photos = (encoder, decoder, painter), crops["held_out"]
    examiner = judge.Judge(*networks, photos, functools.partial(teacher.taught, teacher.Teacher()), styles)
    if options.train == "decoder":
        report = decoders(build / "raw", examiner, before[0], photos, held["stylised"], styles)
    else:
        classifier = judge.train_classifier(folder / "classifier.pt", pairs)
        report = judgement(build / "raw", examiner, classifier, before, photos, held, styles)
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    if options.output == WEIGHTS:
        card.write(WEIGHTS, folder, report, encoder, decoder, photos)


def prepare(build: Path, count: int) -> tuple[dict, dict, dict, np.ndarray]:
    """Crops, teacher pairs, held-out pairs and style vectors of the named styles, from the cache where there."""
    data.fetch(build / "raw")
    looks.raw = build / "raw"
    crops = cached(build / "crops.npz", lambda: data.make_crops(build / "raw"))
    guide = teacher.Teacher()

    def make_bank() -> dict[str, np.ndarray]:
        paintings = data.paintings(build / "raw")
        bank, by_style = teacher.style_bank(guide, crops["train"], paintings, np.random.default_rng(1))
        return {"bank": bank, "by_style": by_style}

    bank = cached(build / "bank.npz", make_bank)
    held = cached(
        build / "pairs_held_out.npz",
        lambda: teacher.make_pairs(guide, crops["held_out"], bank["bank"], 300, seed=3),
    )
    shards = [
        cached(
            build / "pairs" / f"{number:04d}.npz",
            lambda n=number: teacher.make_pairs(guide, crops["train"], bank["bank"], SHARD, seed=100 + n),
        )
        for number in range(count // SHARD)
    ]
    pairs = {key: np.concatenate([shard[key] for shard in shards]) for key in shards[0]}
    return crops, pairs, held, bank["by_style"]


def cached(path: Path, make) -> dict[str, np.ndarray]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **make())
        temporary.replace(path)
        print(f"made {path}", flush=True)
    return dict(np.load(path))


def judgement(
    raw: Path,
    examiner: judge.Judge,
    classifier: judge.StyleClassifier,
    before: tuple[Decoder, FlowUNet],
    photos: np.ndarray,
    held: dict,
    styles: int,
) -> dict:
    """Every number of the model card; `before` is what a gain is measured against, with the same encoder."""
    encoder, decoder, unet = examiner.encoder, examiner.decoder, examiner.unet
    pure = np.flatnonzero(held["named"].max(1) == 1)
    labels = torch.from_numpy(held["named"][pure].argmax(1))
    taught = autoencoder.to_pixels(held["stylised"][pure])
    return examiner.report(classifier) | {
        "classifier_on_held_out_teacher": judge.accuracy(classifier, taught, labels),
        "straight": examiner.straight(),
        "straight_before": examiner.of(*before).straight(),
        "faces": judge.faces_kept(encoder, decoder, unet, data.portraits(raw), styles),
        "psnr_photo": autoencoder.median_psnr(encoder, decoder, photos),
        "psnr_stylised": autoencoder.median_psnr(encoder, decoder, held["stylised"]),
        "clips": clip_psnr(raw, encoder, decoder),
    }


def decoders(
    raw: Path, examiner: judge.Judge, before: Decoder, photos: np.ndarray, stylised: np.ndarray, styles: int
) -> dict:
    """What another decoder changes: `before` and `now`."""
    encoder, unet, portraits = examiner.encoder, examiner.unet, data.portraits(raw)
    return {
        when: {
            "drawn": examiner.of(decoder, unet).drawn(),
            "faces": judge.faces_kept(encoder, decoder, unet, portraits, styles)["all"],
            "psnr_photo": autoencoder.median_psnr(encoder, decoder, photos),
            "psnr_stylised": autoencoder.median_psnr(encoder, decoder, stylised),
            "clips": clip_psnr(raw, encoder, decoder),
        }
        for when, decoder in (("before", before), ("now", examiner.decoder))
    }


def clip_psnr(raw: Path, encoder: Encoder, decoder: Decoder) -> dict[str, float]:
    """Median reconstruction PSNR on every tenth frame of the held-out clips."""
    result = {}
    for name in data.HELD_OUT_CLIPS:
        frames = data.frames(next(raw.glob(f"**/{name}")), 10)
        frames = [f[: f.shape[0] // 32 * 32, : f.shape[1] // 32 * 32] for f in frames]
        result[name] = autoencoder.median_psnr(encoder, decoder, np.stack(frames))
    return result


if __name__ == "__main__":
    main()
