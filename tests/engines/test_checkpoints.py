"""Checkpoint folders of the usual layouts, tiny and random, against diffusers' own img2img pipelines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig, get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.conditions.base import Seen
from driftcam.engines.conditions.prompt import Prompt
from driftcam.engines.diffusion.frame import Frame
from driftcam.engines.diffusion.guidance import Guidance
from driftcam.engines.diffusion.plan import Plan
from driftcam.engines.diffusion.schedules import alphas_cumprod, ddim, lcm, turbo
from driftcam.engines.diffusion.sequential import denoise
from driftcam.engines.diffusion.stream_batch import StreamBatch
from driftcam.engines.models.stable_diffusion.checkpoint import Checkpoint, _solver
from driftcam.engines.models.stable_diffusion.prompts import blend
from driftcam.engines.models.stable_diffusion.specs import prompt_inputs

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SIZE = (32, 48)
LAYOUTS = ("sd15", "sd-turbo", "sdxl-turbo")


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Byte-level tokens and a few merges, in the files that a CLIP tokenizer folder holds."""
    letters = [chr(code) for code in range(33, 127)]
    merges = ["a b", "t h", "th e</w>", "c a", "ca t</w>"]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(pair.replace(" ", "") for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def text_config(tokens: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=32,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )


def tiny_vae() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=4,
    )


def full_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.18215,
    )


def tiny_unet(layout: str) -> UNet2DConditionModel:
    xl = layout == "sdxl-turbo"
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4) if xl else 4,
        cross_attention_dim=64 if xl else 32,
        use_linear_projection=xl,
        **(
            {
                "transformer_layers_per_block": (1, 2),
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 6 * 8 + 32,
            }
            if xl
            else {}
        ),
    )


def write(layout: str, folder: Path) -> Path:
    """A randomly initialised checkpoint of the layout, in the form that the hub's folders have."""
    torch.manual_seed(LAYOUTS.index(layout))
    xl = layout == "sdxl-turbo"
    tokens = tokenizer(folder / "made-tokenizer")
    unet = tiny_unet(layout)
    scheduler = {
        "sd15": PNDMScheduler(**SD, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
        "sd-turbo": EulerDiscreteScheduler(**SD, timestep_spacing="trailing", steps_offset=1),
        "sdxl-turbo": EulerAncestralDiscreteScheduler(**SD, timestep_spacing="trailing", steps_offset=1),
    }[layout]
    common = {"vae": full_vae(), "unet": unet, "scheduler": scheduler, "tokenizer": tokens}
    if xl:
        pipe = StableDiffusionXLPipeline(
            **common,
            text_encoder=CLIPTextModel(text_config(tokens, 32)),
            text_encoder_2=CLIPTextModelWithProjection(text_config(tokens, 32)),
            tokenizer_2=tokens,
            add_watermarker=False,
        )
    else:
        pipe = StableDiffusionPipeline(
            **common,
            text_encoder=CLIPTextModel(text_config(tokens, 32)),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.save_pretrained(folder, safe_serialization=True)
    shutil.rmtree(folder / "made-tokenizer")
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these spend their time in waking threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    folders = {layout: write(layout, root / layout) for layout in LAYOUTS}
    tiny_vae().save_pretrained(root / "taesd", safe_serialization=True)
    return folders | {"taesd": root / "taesd", "lora": lora(folders["sd15"], root / "lora")}


def lora(checkpoint: Path, folder: Path) -> Path:
    """LoRA weights in diffusers' format, large enough to change the result."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))
    return folder


@pytest.fixture(scope="session")
def models(folders) -> dict[str, Checkpoint]:
    return {layout: Checkpoint.load(folders[layout]) for layout in LAYOUTS}


@pytest.fixture(scope="session")
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(1, 3, 4, 6, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear")


def diffusers_result(pipe, latent: Tensor, seed: int, scale: float, **options) -> Tensor:
    """Latent after diffusers' own img2img, from an encoded picture."""
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt="the cat",
        image=latent,
        guidance_scale=scale,
        generator=torch.Generator().manual_seed(seed),
        output_type="latent",
        **options,
    ).images


def our_result(model: Checkpoint, latent: Tensor, seed: int, steps: int, strength: float, guidance: Guidance) -> Tensor:
    noises = torch.stack(
        [torch.randn(latent.shape, generator=g)[0] for g in [torch.Generator().manual_seed(seed)] for _ in range(steps)]
    )
    frame = Frame(latent[0], noises, model.condition([("the cat", 1.0)], SIZE))
    plan = Plan(model.schedule(steps, strength), guidance)
    [result] = denoise([frame], plan, model.predict, model.unconditional)
    stream = StreamBatch(model.predict, plan, model.unconditional)
    [streamed] = stream.push(frame) + stream.flush()
    torch.testing.assert_close(streamed.latent, result.latent, atol=1e-4, rtol=1e-5)
    return result.latent[None]


GUIDED = [Guidance(), Guidance("full", 2.5)]


@pytest.mark.parametrize("guidance", GUIDED, ids=["none", "full"])
@pytest.mark.parametrize(("inference_steps", "strength", "steps"), [(2, 0.5, 1), (4, 0.5, 2), (1, 1.0, 1)])
class TestAgainstDiffusers:
    def test_sd_turbo(self, folders, models, pixels, guidance, inference_steps, strength, steps):
        pipe = StableDiffusionImg2ImgPipeline.from_pretrained(folders["sd-turbo"])
        model = models["sd-turbo"]
        latent = model.encode(pixels)
        theirs = diffusers_result(
            pipe, latent, 3, guidance.scale, num_inference_steps=inference_steps, strength=strength
        )
        ours = our_result(model, latent, 3, steps, strength, guidance)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        pictures = pipe.vae.decode(theirs / pipe.vae.config.scaling_factor).sample
        torch.testing.assert_close(model.decode(ours), pictures, atol=1e-4, rtol=0)

    def test_sdxl_turbo(self, folders, models, pixels, guidance, inference_steps, strength, steps):
        pipe = StableDiffusionXLImg2ImgPipeline.from_pretrained(folders["sdxl-turbo"], add_watermarker=False)
        model = models["sdxl-turbo"]
        latent = model.encode(pixels)
        options = {"num_inference_steps": inference_steps, "strength": strength}
        size = {"original_size": SIZE, "target_size": SIZE}
        theirs = diffusers_result(pipe, latent, 3, guidance.scale, **options, **size)
        ours = our_result(model, latent, 3, steps, strength, guidance)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)

    def test_sd15_with_lcm_lora(self, folders, pixels, guidance, inference_steps, strength, steps):
        pipe = StableDiffusionImg2ImgPipeline.from_pretrained(folders["sd15"])
        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
        pipe.load_lora_weights(folders["lora"], adapter_name="lcm")
        pipe.set_adapters(["lcm"], [0.7])
        model = Checkpoint.load(folders["sd15"], loras=[(folders["lora"], 0.7)], solver="lcm")
        latent = model.encode(pixels)
        theirs = diffusers_result(
            pipe, latent, 3, guidance.scale, num_inference_steps=inference_steps, strength=strength
        )
        ours = our_result(model, latent, 3, steps, strength, guidance)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("solver", ["auto", "ddim", "lcm", "turbo"])
def test_a_schedule_that_ends_above_clean_is_ddims_alone(tmp_path, solver):
    """Most folders of SD 1.x and 2.x set `set_alpha_to_one` false; the other solvers end at the clean picture."""
    DDIMScheduler(**SD, set_alpha_to_one=False).save_pretrained(tmp_path)
    schedule = _solver(tmp_path / "scheduler_config.json", solver)(2, 0.8)
    levels = alphas_cumprod()
    clean = {"lcm": lcm, "turbo": turbo}
    if solver in clean:
        assert schedule == clean[solver](2, 0.8, levels)
    else:
        assert schedule == ddim(2, 0.8, levels, final_alpha=levels[0] ** 0.5)


def test_a_lora_changes_the_result_by_its_weight(folders, models, pixels):
    latent = models["sd15"].encode(pixels)
    results = [
        our_result(Checkpoint.load(folders["sd15"], loras=loras), latent, 3, 1, 1.0, Guidance())
        for loras in ([], [(folders["lora"], 0.0)], [(folders["lora"], 0.5)], [(folders["lora"], 1.0)])
    ]
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=0)
    assert (results[0] - results[2]).abs().max() > 1e-3
    assert (results[2] - results[3]).abs().max() > 1e-3


def test_the_full_autoencoder_gives_its_mean(folders, models, pixels):
    vae = AutoencoderKL.from_pretrained(folders["sd-turbo"] / "vae")
    expected = vae.encode(pixels).latent_dist.mode() * 0.18215
    torch.testing.assert_close(models["sd-turbo"].encode(pixels), expected)
    assert models["sd-turbo"].channels == 4 and models["sd-turbo"].scale == 2


def test_taesd_takes_the_place_of_the_autoencoder(folders, pixels):
    model = Checkpoint.load(folders["sd-turbo"], vae=folders["taesd"])
    vae = AutoencoderTiny.from_pretrained(folders["taesd"])
    latent = model.encode(pixels)
    torch.testing.assert_close(latent, vae.encode(pixels).latents)
    torch.testing.assert_close(model.decode(latent), vae.decode(latent).sample)
    assert model.scale == 2


def test_a_folder_with_the_fp16_variant_alone_loads(folders, tmp_path, pixels):
    folder = tmp_path / "half"
    shutil.copytree(folders["sd-turbo"], folder)
    for part in ("unet", "vae", "text_encoder"):
        [path] = (folder / part).glob("*.safetensors")
        path.rename(path.with_suffix(".fp16.safetensors"))
    model = Checkpoint.load(folder, dtype=torch.bfloat16)
    assert model.encode(pixels).dtype == model.unet.dtype == torch.bfloat16


def test_sdxl_in_half_precision_keeps_its_autoencoder_wide(folders, models, pixels):
    model = Checkpoint.load(folders["sdxl-turbo"], dtype=torch.float16)
    assert (model.unet.dtype, model.vae.dtype) == (torch.float16, torch.float32)
    latent = model.encode(pixels)
    assert latent.dtype == model.decode(latent).dtype == model.condition([("a", 1)], SIZE)["prompt"].dtype
    torch.testing.assert_close(latent.float(), models["sdxl-turbo"].encode(pixels), atol=1e-3, rtol=0)
    assert Checkpoint.load(folders["sd15"], dtype=torch.float16).vae.dtype == torch.float16


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_are_encoded_once_and_never_per_frame(models, layout, monkeypatch):
    model = models[layout]
    model.negative("")
    calls = []
    encode = model._pipe.encode_prompt
    monkeypatch.setattr(model._pipe, "encode_prompt", lambda *a, **k: calls.append(a) or encode(*a, **k))
    mixed = [("a new prompt " + layout, 1.0), ("the cat sat", 2.0)]
    first = model.condition(mixed, SIZE)
    for _ in range(5):
        again = model.condition(mixed, SIZE)
        model.unconditional({key: value[None] for key, value in again.items()})
    assert len(calls) == 2
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["prompt"], model.condition([("the cat sat", 1.0)], SIZE)["prompt"])


@pytest.mark.parametrize("mode", ["full", "self", "initialize"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_stream_batch_with_changing_prompts_is_sequential(models, layout, mode):
    model = models[layout]
    plan = Plan(model.schedule(2, 0.6), Guidance(mode, 1.5))
    generator = torch.Generator().manual_seed(0)
    stops = [model.condition([(text, 1.0)], SIZE) for text in ("the cat", "a dog", "z")]
    frames = [
        Frame(
            torch.randn(4, 16, 24, generator=generator),
            torch.randn(2, 4, 16, 24, generator=generator),
            blend(stops[int(k / 3) : int(k / 3) + 2], (1 - k / 3 % 1, k / 3 % 1)),
            k,
        )
        for k in range(6)
    ]
    stream = StreamBatch(model.predict, plan, model.unconditional)
    results = [r for frame in frames for r in stream.push(frame)] + stream.flush()
    assert [r.tag for r in results] == list(range(6))
    for frame, result in zip(frames, results, strict=True):
        [expected] = denoise([frame], plan, model.predict, model.unconditional)
        limit = 1e-5 * max(1, expected.latent.abs().max())
        assert (result.latent - expected.latent).abs().max() <= limit


def test_the_negative_prompt_reaches_the_unconditional_rows(folders, models):
    """Only where guidance asks for it."""
    model = models["sd15"]
    words = Prompt(prompt_inputs(model.unet.config), model)
    parameters = Parameters(prompts=(("the cat", 1.0),), negative_prompt="ugly", guidance="full", guidance_scale=2.0)
    expected = model.condition([("ugly", 1.0)], SIZE)["prompt"]
    seen = Seen(torch.zeros(1, 4, 4, 6), torch.zeros(1, 4, 4, 6))
    rows = {key: value[None] for key, value in words.bind(parameters, SIZE)(seen).items()}
    torch.testing.assert_close(words.negative(rows)["prompt"][0], expected)
    torch.testing.assert_close(rows["prompt"][0], model.condition([("the cat", 1.0)], SIZE)["prompt"])
    assert not torch.equal(model.unconditional(rows)["prompt"][0], expected)
    assert set(words.bind(parameters.replace(guidance="self"), SIZE)(seen)) == set(words.inputs)


# Bad folders: the message names the file.
