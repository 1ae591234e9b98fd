"""What an engine is told once, when it starts: which model, what runs its networks, and how frames are batched."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.model_files import ModelFiles

PIPELINES = ("auto", "sequential", "stream")
BACKENDS = ("auto", "tensorrt", "torch-cuda", "openvino", "torch")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "fp8")


@dataclass(frozen=True)
class EngineOptions:
    """Everything that takes a new engine to change. Construction raises `ParameterError`.

    Attributes:
        model: which one to load.
        pipeline: `sequential` runs a frame's steps one after the other (a result comes at once), `stream` batches
            frames that are one step apart (StreamDiffusion; with n steps results lag n−1 frames), `auto` measures.
        backend: what runs the networks; `auto` is the fastest of this machine.
        device: number of the graphics card, from 0; a machine without one uses its processor.
        precision: of the networks; `auto` is the fastest of the backend that looks the same.
    """

    model: ModelFiles = field(default_factory=ModelFiles)
    pipeline: str = "auto"
    backend: str = "auto"
    device: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_choice("pipeline", self.pipeline, PIPELINES)
        check_choice("backend", self.backend, BACKENDS)
        check_choice("precision", self.precision, PRECISIONS)
        if isinstance(self.device, bool) or not isinstance(self.device, int) or not 0 <= self.device < 128:
            raise ParameterError("device", self.device, "give the number of a graphics card, from 0")

    def to_json(self) -> str:
        """One argument of the engine process."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> EngineOptions:
        """The inverse of `to_json`. Raises `ParameterError`."""
        values = json.loads(text)
        model = values.pop("model")
        weights, vae = (Path(model[name]) if model[name] else None for name in ("weights", "vae"))
        loras = tuple((Path(path), weight) for path, weight in model["loras"])
        return cls(ModelFiles(weights, vae, loras, model["solver"]), **values)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raises `ParameterError`."""
    if value not in choices:
        raise ParameterError(name, value, f"choose from: {', '.join(choices)}")
