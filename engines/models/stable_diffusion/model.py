"""A Stable-Diffusion-class checkpoint as the engine uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import CHECKPOINT
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.conditions.prompt import Prompt
from driftcam.engines.models.base import Parts
from driftcam.engines.models.stable_diffusion.checkpoint import Checkpoint
from driftcam.engines.models.stable_diffusion.specs import checkpoint_specs, prompt_inputs


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
        self.parts = checkpoint_parts(self._checkpoint)
        self.stride = self._checkpoint.scale
        self.multiple = self.stride * 2 ** (len(self._checkpoint.unet.config.block_out_channels) - 1)

    def check(self, parameters: Parameters) -> None:
        """A checkpoint takes any prompt; a style picture is for the embedded model."""
        if parameters.style_vector is not None:
            self._refuse_picture()
        parameters.check_model(CHECKPOINT)

    def style_vector(self, picture: np.ndarray) -> tuple[float, ...]:
        return self._refuse_picture()

    def _refuse_picture(self) -> tuple[float, ...]:
        raise ParameterError("style_image", "picture", "only the embedded model takes one; describe the style in words")


def checkpoint_parts(checkpoint: Checkpoint) -> Parts:
    """The networks of a checkpoint and what they are told."""
    conditions = (Prompt(prompt_inputs(checkpoint.unet.config), checkpoint),)
    encoder, unet, decoder = checkpoint_specs(checkpoint.unet, checkpoint.vae, conditions)
    # SDXL's own autoencoder overflows in half precision.
    wide = getattr(checkpoint.vae.config, "force_upcast", False) and "time_ids" in unet.inputs
    return Parts(
        encoder=dataclasses.replace(encoder, frame="in"),
        denoiser=unet,
        decoder=dataclasses.replace(decoder, frame="out"),
        conditions=conditions,
        schedule=checkpoint.schedule,
        latent_scale=float(checkpoint.vae.config.scaling_factor),
        autoencoder_precision="fp32" if wide else "auto",
    )
