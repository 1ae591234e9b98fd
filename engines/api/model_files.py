"""Which model an engine loads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import CHECKPOINT, EMBEDDED

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
