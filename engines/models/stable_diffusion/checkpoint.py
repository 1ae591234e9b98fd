"""Stable-Diffusion-class checkpoints from a local diffusers folder.

Networks, tokenizers and LoRA formats are read by diffusers and transformers. Nothing is fetched, and weights
are safetensors only: a pickle can run code when it is read, so it is refused by name.

    model = Checkpoint.load("models/sd-turbo", vae="models/taesd")
    stream = StreamBatch(model.predict, Plan(model.schedule(1, 0.5)), model.unconditional)
    frame = Frame(model.encode(pixels)[0], noises, model.condition([("a watercolour", 1.0)], (512, 512)))
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from peft import get_peft_model_state_dict
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.model_files import CHECKPOINT_SOLVERS
from driftcam.engines.diffusion import schedules
from driftcam.engines.diffusion.frame import Rows
from driftcam.engines.diffusion.schedules import Schedule
from driftcam.engines.models.stable_diffusion import prompts
from driftcam.engines.models.stable_diffusion.files import (
    brief,
    check_tokenizer,
    check_weights,
    lora_file,
    lora_weights,
    read_json,
    variant_infix,
    weights_stem,
)

log = logging.getLogger("driftcam")
PROMPTS_KEPT = 64  # embeddings in the cache, about 0.3 MB each for SDXL in half precision

# What a folder's scheduler comes down to in few steps. The second-order ones start as DDIM does.
_SOLVER_OF_SCHEDULER = {
    "DDIMScheduler": "ddim",
    "DPMSolverMultistepScheduler": "ddim",
    "EulerAncestralDiscreteScheduler": "turbo",
    "EulerDiscreteScheduler": "ddim",
    "LCMScheduler": "lcm",
    "PNDMScheduler": "ddim",
}


class Checkpoint:
    """A loaded checkpoint: what the stream needs of it. Use `load`.

    Attributes:
        channels: latent channels.
        scale: pixels per latent cell on each axis.
        unet, vae: the networks, in evaluation mode, for a backend to compile.
    """

    def __init__(self, pipe: Any, solver: Callable[[int, float], Schedule]) -> None:
        self._pipe, self._solver = pipe, solver
        self._xl = isinstance(pipe, StableDiffusionXLImg2ImgPipeline)
        self.unet, self.vae = pipe.unet, pipe.vae
        self.channels: int = pipe.unet.config.in_channels
        self.scale: int = pipe.vae_scale_factor
        self._embedding = functools.lru_cache(maxsize=PROMPTS_KEPT)(self._encode_prompt)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        vae: str | Path | None = None,
        loras: Sequence[tuple[str | Path, float]] = (),
        solver: str = "auto",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Checkpoint:
        """Read a folder of the layout that `DiffusionPipeline.save_pretrained` writes (SD 1.x, 2.x, SDXL, Turbo).

        Every file is looked at before the first network is built.

        Args:
            folder: holds model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/ (SDXL: and the second
                encoder and tokenizer).
            vae: folder of another autoencoder with its config.json, such as TAESD (`AutoencoderTiny`).
            loras: safetensors files, or folders with one, and their weights; merged into the networks.
            solver: one of `CHECKPOINT_SOLVERS`; "auto" is what the folder's scheduler names. LCM-LoRA needs "lcm".
            device, dtype: where and how the networks run.

        Raises:
            ParameterError: a file is missing, damaged, a pickle, or does not fit; the message names it.
        """
        folder = Path(folder)
        index = read_json(folder / "model_index.json")
        xl = _is_xl(index, folder / "model_index.json")
        vae_folder = folder / "vae" if vae is None else Path(vae)
        make_solver = _solver(folder / "scheduler" / "scheduler_config.json", solver)
        text = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        names = list(text) if xl else ["text_encoder"]
        tokenizers = [name.replace("text_encoder", "tokenizer") for name in names]
        for path in (folder / "unet", vae_folder, *(folder / name for name in names)):
            check_weights(path)
        for name in tokenizers:
            check_tokenizer(folder / name)
        lora_files = [(lora_file(Path(path)), weight) for path, weight in loras]
        for path, weight in lora_files:
            if not math.isfinite(weight):
                raise ParameterError("lora weight", weight, f"give a finite number for {path}")

        vae_config = read_json(vae_folder / "config.json")
        tiny = vae_config.get("_class_name") == "AutoencoderTiny"
        # SDXL's own autoencoder overflows in half precision.
        wide = xl and not tiny and dtype == torch.float16 and vae_config.get("force_upcast", True)
        components: dict[str, Any] = {
            "unet": _load(UNet2DConditionModel, folder / "unet", torch_dtype=dtype),
            "vae": _load(
                AutoencoderTiny if tiny else AutoencoderKL, vae_folder, torch_dtype=torch.float32 if wide else dtype
            ),
            **{name: _load(text[name], folder / name, dtype=dtype) for name in names},
            **{name: _load_tokenizer(folder / name) for name in tokenizers},
        }
        _check_fit(components, folder, vae_folder)
        pipe = _pipeline(index, components, folder)
        _merge_loras(pipe, lora_files)
        for name in ("unet", "vae", *names):
            getattr(pipe, name).eval().requires_grad_(False).to(device)
        return cls(pipe, make_solver)

    def schedule(self, steps: int, strength: float) -> Schedule:
        """Noise levels and solver of this checkpoint for a number of steps and a strength."""
        return self._solver(steps, strength)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [−1, 1] to latents (B, channels, H/scale, W/scale) of about unit variance.

        A full autoencoder gives a distribution; its mean is taken, which is steady from frame to frame.

        Raises:
            ParameterError: H or W is not a multiple of `scale`, or there are not three channels.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[2] % self.scale or pixels.shape[3] % self.scale:
            advice = f"give (B, 3, H, W) with sides that are multiples of {self.scale}"
            raise ParameterError("pixels", tuple(pixels.shape), advice)
        encoded = self.vae.encode(pixels.to(self.vae.device, self.vae.dtype))
        latent = encoded.latents if isinstance(self.vae, AutoencoderTiny) else encoded.latent_dist.mode()
        return latent.to(self.unet.dtype) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, channels, h, w) to pixels (B, 3, h·scale, w·scale), nominally in [−1, 1], not clipped."""
        scaled = latent.to(self.vae.dtype) / self.vae.config.scaling_factor
        return self.vae.decode(scaled, return_dict=False)[0].to(latent.dtype)

    @torch.no_grad()
    def predict(self, x: Tensor, t: Tensor, condition: Rows) -> Tensor:
        """The UNet's output for x (B, channels, h, w) at timesteps t (B,) under the rows of `condition`."""
        added = {"text_embeds": condition["pooled"], "time_ids": condition["time_ids"]} if self._xl else None
        return self.unet(x, t, condition["prompt"], added_cond_kwargs=added, return_dict=False)[0]

    def condition(self, prompt_weights: Sequence[tuple[str, float]], size: tuple[int, int]) -> Rows:
        """One row of the condition for a blend of prompts; each prompt is encoded once and then remembered.

        Args:
            prompt_weights: prompts and non-negative weights, of which only the ratios count.
            size: height and width of the picture in pixels, which SDXL is told.

        Returns:
            "prompt" (77, width); for SDXL also "pooled" (width,) and "time_ids" (6,).
        """
        texts, weights = [text for text, _ in prompt_weights], [weight for _, weight in prompt_weights]
        embedding = dict(prompts.blend([self._embedding(text) for text in texts], weights))
        if self._xl:
            height, width = size
            time_ids = [height, width, 0, 0, height, width]  # original size, crop, target size
            embedding["time_ids"] = torch.tensor(time_ids, dtype=self.unet.dtype, device=self.unet.device)
        return embedding

    def negative(self, text: str) -> Rows:
        """One row of what a negative prompt, perhaps "", replaces in a condition; each is encoded once."""
        return self._embedding(text, negative=True)

    def unconditional(self, condition: Rows) -> Rows:
        """The rows of `condition` with no words in place of theirs."""
        rows = len(condition["prompt"])
        return condition | {key: value.expand(rows, *value.shape) for key, value in self.negative("").items()}

    @torch.no_grad()
    def _encode_prompt(self, text: str, negative: bool = False) -> prompts.Embedding:
        # Without a text SDXL's negative is zeros (`force_zeros_for_empty_prompt`), which the pipeline decides.
        encoded = self._pipe.encode_prompt(
            "" if negative else text,
            device=self.unet.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=negative,
            negative_prompt=text or None if negative else None,
        )
        chosen = encoded[1::2] if negative else encoded[::2]
        keys = ("prompt", "pooled") if self._xl else ("prompt",)
        return {key: value[0].to(self.unet.dtype) for key, value in zip(keys, chosen, strict=True)}


def _is_xl(index: dict[str, Any], path: Path) -> bool:
    name = str(index.get("_class_name"))
    if name.startswith("StableDiffusionXL") and not index.get("requires_aesthetics_score"):
        return True
    if name in ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"):
        return False
    accepted = "StableDiffusion(Img2Img)Pipeline or StableDiffusionXL(Img2Img)Pipeline (no refiner)"
    raise ParameterError("checkpoint", str(path), f"its pipeline is {name}; give a folder of {accepted}")


def _solver(path: Path, name: str) -> Callable[[int, float], Schedule]:
    """The schedule as a function of steps and strength, from scheduler_config.json."""
    if name not in CHECKPOINT_SOLVERS:
        raise ParameterError("solver", name, f"a checkpoint's is one of: {', '.join(CHECKPOINT_SOLVERS)}")
    config = read_json(path)
    kind = str(config.get("_class_name"))
    if name == "auto":
        if kind not in _SOLVER_OF_SCHEDULER:
            raise ParameterError(
                "checkpoint", str(path), f"{kind} is not known; choose a solver: {', '.join(CHECKPOINT_SOLVERS[1:])}"
            )
        name = _SOLVER_OF_SCHEDULER[kind]
    for field in ("trained_betas", "rescale_betas_zero_snr"):
        if config.get(field):
            raise ParameterError("checkpoint", str(path), f"{field} is not supported")
    try:
        # What a file leaves out is Stable Diffusion's own schedule.
        levels = schedules.alphas_cumprod(
            float(config.get("beta_start", 0.00085)),
            float(config.get("beta_end", 0.012)),
            int(config.get("num_train_timesteps", 1000)),
            config.get("beta_schedule", "scaled_linear"),
        )
        options: dict[str, Any] = {"prediction": config.get("prediction_type", "epsilon")}
        if name == "lcm":
            options["original_steps"] = int(config.get("original_inference_steps", 50))
        elif name == "ddim" and kind == "DDIMScheduler" and not config.get("set_alpha_to_one", True):
            options["final_alpha"] = math.sqrt(levels[0])
        make: Callable[..., Schedule] = getattr(schedules, name)
        solver = functools.partial(make, alphas_cumprod=levels, **options)
        solver(1, 1.0)
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        raise ParameterError("checkpoint", str(path), f"no schedule can be made from it ({error})") from None
    return solver


def _load(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained`, strict: every weight must be there and have the configured shape."""
    stem = weights_stem(folder)
    variant = variant_infix(folder, stem).removeprefix(".") or None
    try:
        model, info = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            ignore_mismatched_sizes=True,  # reported in `info`, and refused below with its name
            output_loading_info=True,
            **options,
        )
    except Exception as error:
        raise ParameterError("checkpoint", str(folder), f"it cannot be loaded ({brief(error)})") from error
    for problem, advice in (("missing_keys", "is missing"), ("mismatched_keys", "has the wrong shape")):
        for name in sorted(map(str, info[problem])):
            raise ParameterError("checkpoint", str(folder), f"the weight {name} {advice}")
    return model


def _load_tokenizer(folder: Path) -> CLIPTokenizer:
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ParameterError("checkpoint", str(folder), f"the tokenizer cannot be loaded ({brief(error)})") from error


def _check_fit(components: dict[str, Any], folder: Path, vae_folder: Path) -> None:
    """The networks must take what the others make: found out here, not by a fault on the device."""
    unet, vae = components["unet"].config, components["vae"].config
    encoders = {name: module.config for name, module in components.items() if name.startswith("text_encoder")}
    config, vae_config = folder / "unet" / "config.json", vae_folder / "config.json"
    if not unet.in_channels == unet.out_channels == vae.latent_channels:
        advice = f"it takes {unet.in_channels} channels, {vae_config} makes {vae.latent_channels}"
        raise ParameterError("checkpoint", str(config), advice)
    if unet.time_cond_proj_dim is not None:
        raise ParameterError("checkpoint", str(config), "a UNet that embeds the guidance scale is not supported")
    width = sum(encoder.hidden_size for encoder in encoders.values())
    if unet.cross_attention_dim != width:
        advice = f"its cross_attention_dim is {unet.cross_attention_dim}, the prompt encoders make {width}"
        raise ParameterError("checkpoint", str(config), advice)
    if "text_encoder_2" in encoders:
        added = 6 * (unet.addition_time_embed_dim or 0) + encoders["text_encoder_2"].projection_dim
        if unet.projection_class_embeddings_input_dim != added:
            advice = f"its projection_class_embeddings_input_dim is not {added}, as the second prompt encoder needs"
            raise ParameterError("checkpoint", str(config), advice)
    for name, encoder in encoders.items():
        tokenizer = name.replace("text_encoder", "tokenizer")
        if len(components[tokenizer]) > encoder.vocab_size:
            advice = f"it has {len(components[tokenizer])} tokens, its encoder knows {encoder.vocab_size}"
            raise ParameterError("checkpoint", str(folder / tokenizer), advice)


def _pipeline(index: dict[str, Any], components: dict[str, Any], folder: Path) -> Any:
    """diffusers' pipeline around the networks, for its prompt encoding and LoRA formats."""
    try:
        if "text_encoder_2" in components:
            zeros = bool(index.get("force_zeros_for_empty_prompt", True))
            return StableDiffusionXLImg2ImgPipeline(
                **components, scheduler=None, force_zeros_for_empty_prompt=zeros, add_watermarker=False
            )
        return StableDiffusionImg2ImgPipeline(
            **components, scheduler=None, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    except Exception as error:
        raise ParameterError("checkpoint", str(folder), f"no pipeline can be made of it ({brief(error)})") from error


def _check_taken(pipe: Any, name: str, path: Path) -> None:
    """diffusers leaves out what it finds no place for. Raises `ParameterError` where that is most of an adapter."""
    adapted = [pipe.components[part] for part, adapters in pipe.get_list_adapters().items() if name in adapters]
    taken = sum(len(get_peft_model_state_dict(module, adapter_name=name)) for module in adapted)
    count = lora_weights(path)
    found = f"{max(count - taken, 0)} of its {count} weights belong to no part of this checkpoint"
    if 2 * taken < count or not taken:
        raise ParameterError("lora", str(path), f"{found}; give a LoRA that was made for it")
    if taken < count:
        log.warning("lora: %s: %s and are left out", path, found)


def _merge_loras(pipe: Any, files: Sequence[tuple[Path, float]]) -> None:
    """Merge LoRA weights into the networks, so that they cost nothing per frame."""
    for number, (path, _) in enumerate(files):
        name = f"lora{number}"
        try:
            pipe.load_lora_weights(
                path.parent, weight_name=path.name, adapter_name=name, local_files_only=True, use_safetensors=True
            )
        except Exception as error:
            raise ParameterError("lora", str(path), f"it does not fit this checkpoint ({brief(error)})") from error
        _check_taken(pipe, name, path)
    if files:
        pipe.set_adapters([f"lora{number}" for number in range(len(files))], [weight for _, weight in files])
        pipe.fuse_lora()
        pipe.unload_lora_weights()
