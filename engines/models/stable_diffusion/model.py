"""A Stable-Diffusion-class checkpoint as the engine uses it: compiled networks, prompts encoded beside the stream."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import CHECKPOINT
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends import Backend
from driftcam.engines.backends.base import Progress
from driftcam.engines.backends.export import checkpoint_specs
from driftcam.engines.diffusion.frame import Condition
from driftcam.engines.diffusion.schedules import Schedule
from driftcam.engines.models.base import Conditioning, RowsNetwork
from driftcam.engines.models.stable_diffusion.checkpoint import Checkpoint

_CONDITIONS_KEPT = 16

Prompts = tuple[tuple[str, float], ...]


class CheckpointSource:
    """A diffusers folder on this machine; see `Checkpoint.load` for the layouts, the arguments and what it raises."""

    def __init__(
        self,
        folder: Path,
        *,
        vae: Path | None = None,
        loras: Sequence[tuple[str | Path, float]] = (),
        solver: str = "auto",
    ) -> None:
        self._checkpoint = Checkpoint.load(folder, vae=vae, loras=loras, solver=solver)
        self.stride = self._checkpoint.scale
        self.multiple = self.stride * 2 ** (len(self._checkpoint.unet.config.block_out_channels) - 1)

    def check(self, parameters: Parameters) -> None:
        """A checkpoint takes any prompt; a style picture is for the embedded model."""
        if parameters.style_vector is not None:
            self._refuse_picture()
        parameters.check_model(CHECKPOINT)

    def model(self, height: int, width: int, backend: Backend, progress: Progress | None = None) -> CheckpointModel:
        return CheckpointModel(self._checkpoint, height, width, backend, progress)

    def style_vector(self, picture: np.ndarray) -> tuple[float, ...]:
        return self._refuse_picture()

    def _refuse_picture(self) -> tuple[float, ...]:
        raise ParameterError("style_image", "picture", "only the embedded model takes one; describe the style in words")


class CheckpointModel:
    """See `engines.models.base.Model`."""

    def __init__(
        self, checkpoint: Checkpoint, height: int, width: int, backend: Backend, progress: Progress | None = None
    ) -> None:
        self.size = (height, width)
        self.latent_size = (height // checkpoint.scale, width // checkpoint.scale)
        self.channels = checkpoint.channels
        self._checkpoint = checkpoint
        encoder, unet, decoder = checkpoint_specs(checkpoint.unet, checkpoint.vae)
        self._factor = float(checkpoint.vae.config.scaling_factor)
        self._inputs = tuple(unet.inputs)[2:]
        # SDXL's own autoencoder overflows in half precision.
        wide = "fp32" if getattr(checkpoint.vae.config, "force_upcast", False) and "text" in unet.inputs else "auto"
        latent = (1, self.channels, *self.latent_size)
        encoder, decoder = dataclasses.replace(encoder, frame="in"), dataclasses.replace(decoder, frame="out")
        self._encode = backend.compile(encoder, {"pixels": (1, 3, height, width)}, wide, progress)
        self._decode = backend.compile(decoder, {"latent": latent}, wide, progress)
        fixed = unet.shapes(batch=1, rows=1, columns=1)

        def shapes(rows: int) -> dict[str, tuple[int, ...]]:
            return {name: (rows, *shape[1:]) for name, shape in fixed.items()} | {"sample": (rows, *latent[1:])}

        self._unet = RowsNetwork(unet, shapes, backend, progress)
        self._conditions: OrderedDict[Prompts, Condition] = OrderedDict()

    def prepare(self, parameters: Parameters, rows: int) -> None:
        self._unet.prepare(rows)
        prompts = _prompts(parameters)
        if prompts not in self._conditions:
            self._conditions[prompts] = self._checkpoint.condition(prompts, self.size)
            while len(self._conditions) > _CONDITIONS_KEPT:
                self._conditions.popitem(last=False)

    def ready(self, parameters: Parameters, rows: int) -> bool:
        return self._unet.ready(rows) and _prompts(parameters) in self._conditions

    def conditioning(self, parameters: Parameters) -> Conditioning:
        condition = self._conditions[_prompts(parameters)]
        return lambda photo, noises: condition

    def schedule(self, steps: int, strength: float) -> Schedule:
        return self._checkpoint.schedule(steps, strength)

    def encode(self, frame: Tensor) -> Tensor:
        return self._encode(frame) * self._factor

    def decode(self, latent: Tensor) -> Tensor:
        return self._decode(latent / self._factor)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        names = {"text": "pooled"}
        return self._unet(x, t, *(condition[names.get(name, name)] for name in self._inputs))

    def unconditional(self, condition: Condition) -> Condition:
        return self._checkpoint.unconditional(condition)


def _prompts(parameters: Parameters) -> Prompts:
    """The prompts, or the names of the styles where there are none."""
    return parameters.prompts or tuple((name.replace("-", " "), weight) for name, weight in parameters.styles)
