"""Which model an engine loads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import CHECKPOINT, EMBEDDED

EMBEDDED_FILE = "embedded.safetensors"
FOLDER_WANTED = "give a folder in the layout of diffusers, with model_index.json (save_pretrained writes it)"
CHECKPOINT_SOLVERS = ("auto", "ddim", "lcm", "turbo", "dpmpp")
EMBEDDED_SOLVERS = ("auto", "euler", "dpmpp")
SOLVERS = tuple(dict.fromkeys(CHECKPOINT_SOLVERS + EMBEDDED_SOLVERS))


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies; nothing is the embedded one as shipped.

    Attributes:
        weights: folder of a Stable-Diffusion-class checkpoint in the layout of diffusers, or of other weights of the
            embedded model.
        vae: folder of another autoencoder for a checkpoint, such as TAESD.
        loras: safetensors files for a checkpoint, and their weights.
        solver: one of `CHECKPOINT_SOLVERS` (an LCM-LoRA needs `lcm`), or of `EMBEDDED_SOLVERS`; `auto` is what a
            checkpoint's folder names, and `euler` for the embedded model. A model refuses the other's.
    """

    weights: Path | None = None
    vae: Path | None = None
    loras: tuple[tuple[Path, float], ...] = ()
    solver: str = "auto"

    def __post_init__(self) -> None:
        # A folder that is neither is named when it is read.
        solvers = EMBEDDED_SOLVERS if self.weights is None else SOLVERS
        solvers = CHECKPOINT_SOLVERS if self.kind == CHECKPOINT else solvers
        if self.solver not in solvers:
            advice = f"{self.kind} models have: {', '.join(solvers)}"
            raise ParameterError("solver", self.solver, advice)

    @property
    def kind(self) -> str:
        """Which of `fields.MODELS` it is, by what lies in its folder."""
        diffusers = self.weights is not None and (self.weights / "model_index.json").exists()
        return CHECKPOINT if diffusers else EMBEDDED


def check_weights(weights: Path) -> None:
    """Raises `ParameterError` for what is neither a checkpoint's folder nor one of the embedded model: in words on what
    it is, and what is wanted."""
    if (weights / "model_index.json").exists() or (weights / EMBEDDED_FILE).exists():
        return
    found = [each.parent for pattern in ("*", "snapshots/*") for each in weights.glob(f"{pattern}/model_index.json")]
    if (weights.parent / "model_index.json").exists() and weights.is_dir():
        advice = f"it is a part of a checkpoint; give the whole, {str(weights.parent)!r}"
    elif found:
        advice = f"the checkpoint lies deeper; give {str(sorted(found)[0])!r}"
    elif (weights / "config.json").exists():
        advice = f"it is a single network (config.json); {FOLDER_WANTED}"
    else:
        advice = f"{_not_a_folder(weights) or 'it holds no model_index.json'}; {FOLDER_WANTED}"
    raise ParameterError("weights", str(weights), advice)


def check_vae(vae: Path) -> None:
    """Raises `ParameterError` for what is no folder of an autoencoder."""
    wanted = "give the folder of an autoencoder, with its config.json and safetensors"
    if (vae / "model_index.json").exists():
        raise ParameterError("vae", str(vae), f"it is a whole checkpoint; {wanted}, such as {str(vae / 'vae')!r}")
    if not (vae / "config.json").exists():
        raise ParameterError("vae", str(vae), f"{_not_a_folder(vae) or 'it holds no config.json'}; {wanted}")


def _not_a_folder(path: Path) -> str:
    """What `path` is instead; empty for a folder."""
    if path.is_dir():
        return ""
    if path.is_file():
        return "it is a single file" if path.suffix == ".safetensors" else "it is a file, and no safetensors"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):  # as hubs name models
        return f"there is no such folder, and nothing is fetched (hf download {path} --local-dir FOLDER does)"
    return "there is no such folder"


def parse_loras(texts: Iterable[str]) -> tuple[tuple[Path, float], ...]:
    """`PATH[:WEIGHT]` each. Raises `ParameterError` for a weight that is no number."""
    return tuple(_lora(text) for text in texts)


def _lora(text: str) -> tuple[Path, float]:
    path, separator, weight = text.rpartition(":")
    if not separator or "/" in weight:
        return Path(text), 1.0
    try:
        return Path(path), float(weight)
    except ValueError:
        raise ParameterError("lora", text, "write PATH or PATH:WEIGHT with a number") from None
