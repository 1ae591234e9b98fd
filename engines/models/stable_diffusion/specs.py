"""The networks of a Stable-Diffusion-class checkpoint (diffusers modules) as backends take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from driftcam.engines.backends.network import BATCH, NetworkSpec, Shape, image_shape
from driftcam.engines.conditions.base import Condition
from driftcam.engines.models.base import denoiser_inputs

TOKENS = 77  # of a CLIP prompt
XL_TIME_IDS = 6


class _Unet(nn.Module):
    """A diffusers UNet with positional inputs, SDXL's added conditions among them."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, prompt: Tensor, *added: Tensor) -> Tensor:
        options: dict[str, Any] = {}
        if added:
            pooled, time_ids = added
            options["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": time_ids}
        return self.unet(x, t, prompt, return_dict=False, **options)[0]


class _VaeEncoder(nn.Module):
    """Pixels to the mean latent (before the scaling factor)."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor) -> Tensor:
        coded = self.vae.encode(pixels, return_dict=False)[0]  # type: ignore[operator]
        return coded.mean if hasattr(coded, "mean") and not isinstance(coded, Tensor) else coded


class _VaeDecoder(nn.Module):
    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor) -> Tensor:
        return self.vae.decode(latent, return_dict=False)[0]  # type: ignore[operator]


def prompt_inputs(config: Any) -> dict[str, Shape]:
    """Inputs of a UNet, by its configuration, for what it is told in words."""
    inputs: dict[str, Shape] = {"prompt": (BATCH, TOKENS, config.cross_attention_dim)}
    if config.addition_embed_type == "text_time":  # SDXL
        pooled = config.projection_class_embeddings_input_dim - XL_TIME_IDS * config.addition_time_embed_dim
        inputs |= {"pooled": (BATCH, pooled), "time_ids": (BATCH, XL_TIME_IDS)}
    return inputs


def checkpoint_specs(unet: Any, vae: Any, conditions: Sequence[Condition] | None = None) -> list[NetworkSpec]:
    """Autoencoder and UNet; `conditions` are those of the UNet, its words where they are not given."""
    if conditions is None:
        words = Condition()
        words.inputs = prompt_inputs(unet.config)
        conditions = [words]
    latent = image_shape(unet.config.in_channels, 2 ** (len(vae.config.block_out_channels) - 1))
    return [
        NetworkSpec("encoder", _VaeEncoder(vae).eval(), {"pixels": image_shape(3)}, "latent"),
        NetworkSpec("unet", _Unet(unet).eval(), denoiser_inputs(latent, conditions), "prediction"),
        NetworkSpec("decoder", _VaeDecoder(vae).eval(), {"latent": latent}, "pixels"),
    ]
