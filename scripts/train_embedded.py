"""Train the embedded model from nothing: data, teacher pairs, autoencoder, flow, reflow, judgement,
weights, card.

    pip install -e '.[train]' && python -m scripts.train_embedded

Every stage is cached under `build/embedded` and resumes where it stopped; on two cores the whole
takes about two and a half hours. Needs Debian or Ubuntu (the photographs are in their packages).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from driftcam.engines.models.embedded.model import WEIGHTS
from scripts.training import autoencoder, card, data, flow, judge, reflow, teacher
from scripts.training.package import write_weights

PAIRS = (8000, 8000)  # two files, so that neither fills the memory of a small machine while it is made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/embedded"), help="cache and checkpoints")
    parser.add_argument("--autoencoder-minutes", type=float, default=20)
    parser.add_argument("--flow-minutes", type=float, default=75)
    parser.add_argument("--reflow-minutes", type=float, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    build: Path = options.build
    build.mkdir(parents=True, exist_ok=True)
    crops, pairs, held, by_style = prepare(build)
    coder = autoencoder.train(build, crops, pairs, held, options.autoencoder_minutes)
    encoder = coder.folded_encoder()
    unet = flow.train(build, encoder, crops["train"], pairs, by_style, options.flow_minutes)
    unet = reflow.train(build, unet, encoder, crops["train"], pairs, by_style, options.reflow_minutes)
    write_weights(WEIGHTS, encoder, coder.decoder, unet, teacher.Teacher().predictor_path)
    report = judgement(build, coder, unet, crops, pairs, held)
    (build / "report.json").write_text(json.dumps(report, indent=1))
    card.write(WEIGHTS, build, report, encoder, coder.decoder, crops["held_out"])


def prepare(build: Path) -> tuple[dict, dict, dict, np.ndarray]:
    """Crops, teacher pairs, held-out pairs and style vectors of the named styles, from the cache where there."""
    data.fetch(build / "raw")
    crops = cached(build / "crops.npz", lambda: data.make_crops(build / "raw"))
    guide = teacher.Teacher()

    def make_bank() -> dict[str, np.ndarray]:
        paintings = data.paintings(build / "raw")
        bank, by_style = teacher.style_bank(guide, crops["train"], paintings, np.random.default_rng(1))
        return {"bank": bank, "by_style": by_style}

    bank = cached(build / "bank.npz", make_bank)
    parts = [
        cached(
            build / f"pairs{number}.npz",
            lambda n=number, c=count: teacher.make_pairs(guide, crops["train"], bank["bank"], c, seed=2 + 10 * n),
        )
        for number, count in enumerate(PAIRS)
    ]
    pairs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    held = cached(
        build / "pairs_held_out.npz",
        lambda: teacher.make_pairs(guide, crops["held_out"], bank["bank"], 400, seed=3),
    )
    return crops, pairs, held, bank["by_style"]


def cached(path: Path, make) -> dict[str, np.ndarray]:
    if not path.exists():
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **make())
        temporary.replace(path)
    return dict(np.load(path))


def judgement(build: Path, coder, unet, crops: dict, pairs: dict, held: dict) -> dict:
    guide = teacher.Teacher()
    classifier = judge.train_classifier(build / "classifier.pt", pairs)
    photo_db, stylised_db = autoencoder.held_out_psnr(coder, crops["held_out"], held["stylised"])
    examiner = judge.Judge(
        coder.folded_encoder(),
        coder.decoder,
        unet,
        crops["held_out"],
        lambda photo, style: guide.named(photo, np.eye(teacher.NAMED, dtype=np.float32)[style]),
    )
    pure = np.flatnonzero(held["named"].max(1) == 1)
    report = examiner.report(classifier)
    report["classifier_on_held_out_teacher"] = judge.accuracy(
        classifier, autoencoder.to_pixels(held["stylised"][pure]), torch.from_numpy(held["named"][pure].argmax(1))
    )
    report["psnr_photo"], report["psnr_stylised"] = photo_db, stylised_db
    report["clips"] = clip_psnr(build / "raw", coder)
    return report


def clip_psnr(raw: Path, coder) -> dict[str, float]:
    """Median reconstruction PSNR on every tenth frame of the held-out clips."""
    result = {}
    for name in data.HELD_OUT_CLIPS:
        frames = data.frames(next(raw.glob(f"**/{name}")), 10)
        frames = [f[: f.shape[0] // 32 * 32, : f.shape[1] // 32 * 32] for f in frames]
        result[name] = autoencoder.median_psnr(coder, np.stack(frames))
    return result


if __name__ == "__main__":
    cv2.setNumThreads(2)
    main()
