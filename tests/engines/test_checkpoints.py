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
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from engines.api.errors import ParameterError
from engines.checkpoints import Checkpoint
from engines.denoise import Frame, Plan, denoise
from engines.guidance import Guidance
from engines.prompts import blend, lerp, slerp, travel
from engines.stream import StreamBatch

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
    [streamed] = stream.push([frame]) + stream.flush()
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
            travel(stops, k / 3),
            k,
        )
        for k in range(6)
    ]
    stream = StreamBatch(model.predict, plan, model.unconditional)
    results = [r for frame in frames for r in stream.push([frame])] + stream.flush()
    assert [r.tag for r in results] == list(range(6))
    for frame, result in zip(frames, results, strict=True):
        [expected] = denoise([frame], plan, model.predict, model.unconditional)
        limit = 1e-5 * max(1, expected.latent.abs().max())
        assert (result.latent - expected.latent).abs().max() <= limit


def test_the_negative_prompt_reaches_the_unconditional_rows(folders, models):
    plain, told = models["sd15"], Checkpoint.load(folders["sd15"], negative_prompt="ugly")
    rows = {key: value[None] for key, value in plain.condition([("the cat", 1.0)], SIZE).items()}
    expected = told.condition([("ugly", 1.0)], SIZE)["prompt"]
    torch.testing.assert_close(told.unconditional(rows)["prompt"][0], expected)
    assert not torch.equal(plain.unconditional(rows)["prompt"][0], expected)


# Bad folders: the message names the file.


@pytest.fixture
def folder(folders, tmp_path) -> Path:
    return Path(shutil.copytree(folders["sd15"], tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut", "noise"])
def test_a_missing_or_damaged_file_is_named(folder, name, damage):
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(range(1, 256)))
    with pytest.raises(ParameterError) as error:
        Checkpoint.load(folder)
    assert str(path) in str(error.value)


def test_a_missing_tokenizer_is_named(folder):
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    with pytest.raises(ParameterError, match=r"tokenizer.vocab\.json"):
        Checkpoint.load(folder)


class Bomb:
    """Pickled, this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_pickle_is_refused_by_name_and_never_read(folder, part, tmp_path):
    [weights] = (folder / part).glob("*.safetensors")
    pickle = weights.with_name(("pytorch_model" if part == "text_encoder" else weights.stem) + ".bin")
    weights.unlink()
    torch.save({"weight": Bomb(tmp_path / "exploded")}, pickle)
    with pytest.raises(ParameterError, match="pickle") as error:
        Checkpoint.load(folder)
    assert str(pickle) in str(error.value)
    assert not (tmp_path / "exploded").exists()


def test_a_pickled_lora_is_refused_by_name_and_never_read(folders, tmp_path):
    path = tmp_path / "style.pt"
    torch.save({"weight": Bomb(tmp_path / "exploded")}, path)
    for given in (path, tmp_path):
        with pytest.raises(ParameterError, match=r"style\.pt.*pickle|pickle"):
            Checkpoint.load(folders["sd15"], loras=[(given, 1.0)])
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("change", ["shape", "missing"])
def test_weights_that_do_not_fit_are_named(folder, part, change):
    [path] = (folder / part).glob("*.safetensors")
    tensors = load_file(path)
    name = sorted(name for name, value in tensors.items() if value.ndim == 2)[0]
    if change == "shape":
        tensors[name] = torch.zeros(3, 5)
    else:
        del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ParameterError) as error:
        Checkpoint.load(folder)
    assert str(folder / part) in str(error.value)
    assert name.split(".")[-2] in str(error.value)


def test_loras_that_do_not_fit_are_named(folders, tmp_path):
    cases = {
        "wrong-shape": {name: torch.zeros(3, 3) for name in load_file(next(folders["lora"].glob("*.safetensors")))},
        "other-model": {"transformer.blocks.0.lora_A.weight": torch.zeros(2, 8)},
    }
    for name, tensors in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        with pytest.raises(ParameterError, match=name):
            Checkpoint.load(folders["sd15"], loras=[(path, 1.0)])
    with pytest.raises(ParameterError, match="lora weight"):
        Checkpoint.load(folders["sd15"], loras=[(folders["lora"], float("nan"))])
    with pytest.raises(ParameterError, match="absent"):
        Checkpoint.load(folders["sd15"], loras=[(tmp_path / "absent.safetensors", 1.0)])


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}),
        ("scheduler/scheduler_config.json", {"_class_name": "HeunDiscreteScheduler"}),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "squaredcos_cap_v2"}),
        ("scheduler/scheduler_config.json", {"prediction_type": "noise"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}),
        ("scheduler/scheduler_config.json", {"beta_end": "much"}),
    ],
)
def test_settings_that_are_not_supported_are_named(folder, name, changes):
    edit(folder / name, **changes)
    with pytest.raises(ParameterError) as error:
        Checkpoint.load(folder)
    assert str(folder / name) in str(error.value)


def test_an_autoencoder_of_other_channels_is_named(folder, tmp_path):
    other = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=16,
    )
    other.save_pretrained(tmp_path / "vae16", safe_serialization=True)
    with pytest.raises(ParameterError, match="vae16"):
        Checkpoint.load(folder, vae=tmp_path / "vae16")


def test_a_prompt_encoder_of_another_width_is_named(folders, folder):
    tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    CLIPTextModel(text_config(tokens, 48)).save_pretrained(folder / "text_encoder")
    with pytest.raises(ParameterError, match="cross_attention_dim is 32, the prompt encoders make 48"):
        Checkpoint.load(folder)
    xl = folder.parent / "xl"
    shutil.copytree(folders["sdxl-turbo"], xl)
    config = text_config(tokens, 32)
    config.projection_dim = 16
    CLIPTextModelWithProjection(config).save_pretrained(xl / "text_encoder_2")
    with pytest.raises(ParameterError, match="projection_class_embeddings_input_dim is not 64"):
        Checkpoint.load(xl)


def test_a_tokenizer_larger_than_its_encoder_is_named(folder):
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] |= {f"word{k}</w>": len(content["model"]["vocab"]) + k for k in range(5)}
    path.write_text(json.dumps(content))
    with pytest.raises(ParameterError, match="tokenizer' cannot be used; it has"):
        Checkpoint.load(folder)


def test_a_sharded_checkpoint_loads_and_its_index_cannot_lead_elsewhere(folder, models, pixels, tmp_path):
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="60KB")
    shards = sorted((folder / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    latent = models["sd15"].encode(pixels)
    results = [our_result(model, latent, 0, 1, 1.0, Guidance()) for model in (models["sd15"], Checkpoint.load(folder))]
    torch.testing.assert_close(*results, atol=1e-4, rtol=0)

    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    content = json.loads(index.read_text())
    torch.save({"weight": Bomb(tmp_path / "exploded")}, folder / "unet" / "weights.bin")
    for name, blamed in (("../unet/" + shards[0].name, index.name), ("weights.bin", "weights.bin")):
        index.write_text(json.dumps(content | {"weight_map": dict.fromkeys(content["weight_map"], name)}))
        with pytest.raises(ParameterError, match=blamed):
            Checkpoint.load(folder)
    index.write_text(json.dumps(content))
    shards[0].unlink()
    (folder / "unet" / "weights.bin").unlink()
    with pytest.raises(ParameterError, match=shards[0].name):
        Checkpoint.load(folder)
    assert not (tmp_path / "exploded").exists()


def test_an_adapter_beside_the_weights_is_refused_and_never_read(folder, tmp_path):
    torch.save({"weight": Bomb(tmp_path / "exploded")}, folder / "text_encoder" / "adapter_model.bin")
    (folder / "text_encoder" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    with pytest.raises(ParameterError, match="adapter_config"):
        Checkpoint.load(folder)
    assert not (tmp_path / "exploded").exists()


def test_wrong_arguments_are_named(folders, models):
    with pytest.raises(ParameterError, match="solver"):
        Checkpoint.load(folders["sd15"], solver="heun")
    for shape in [(1, 3, 33, 48), (1, 4, 32, 48), (3, 32, 48)]:
        with pytest.raises(ParameterError, match="pixels"):
            models["sd15"].encode(torch.zeros(shape))
    with pytest.raises(ParameterError, match="prompts"):
        models["sd15"].condition([], SIZE)


# Blending and travelling.


def test_slerp_keeps_the_norm_and_meets_its_ends():
    a, b = torch.nn.functional.normalize(torch.randn(2, 77, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    for share in (0.2, 0.5, 0.9):
        middle = slerp(a, b, share)
        torch.testing.assert_close(middle.norm(dim=-1), torch.ones(77))
        angle, whole = ((p * q).sum(-1).acos() for p, q in ((a, middle), (a, b)))
        torch.testing.assert_close(angle, share * whole, atol=1e-4, rtol=0)
        assert (lerp(a, b, share).norm(dim=-1) < 1).all()


def test_slerp_of_parallel_opposite_or_zero_vectors_is_lerp():
    a = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    for b in (a, 3 * a, -a, torch.zeros_like(a)):
        middle = slerp(a, b, 0.3)
        assert torch.isfinite(middle).all()
        if b.any():
            torch.testing.assert_close(middle, lerp(a, b, 0.3))


def test_a_blend_only_knows_the_ratios_of_its_weights():
    generator = torch.Generator().manual_seed(0)
    a, b, c = ({"prompt": torch.randn(5, 8, generator=generator), "pooled": torch.randn(8)} for _ in range(3))
    one, two = blend([a, b, c], [1, 2, 1]), blend([a, b, c], [2, 4, 2])
    for key in a:
        torch.testing.assert_close(one[key], two[key])
        torch.testing.assert_close(blend([a, b, c], [0, 1, 0])[key], b[key])
        torch.testing.assert_close(blend([a, a, a], [1, 1, 1])[key], a[key])
    for weights in ([0, 0, 0], [1, -1, 1], [1, 1], [1, 1, float("nan")]):
        with pytest.raises(ParameterError, match="prompt"):
            blend([a, b, c], weights)


def test_travel_passes_every_stop_and_waits_at_the_ends():
    stops = [{"prompt": torch.randn(5, 8, generator=torch.Generator().manual_seed(k))} for k in range(3)]
    for position, stop in [(-1, 0), (0, 0), (1, 1), (2, 2), (9, 2)]:
        torch.testing.assert_close(travel(stops, position)["prompt"], stops[stop]["prompt"])
    torch.testing.assert_close(travel(stops, 1.25)["prompt"], slerp(stops[1]["prompt"], stops[2]["prompt"], 0.25))
    way = torch.stack([travel(stops, k / 20)["prompt"] for k in range(41)])
    assert (way[1:] - way[:-1]).norm(dim=(1, 2)).max() < 3 * (way[1:] - way[:-1]).norm(dim=(1, 2)).median()
    torch.testing.assert_close(travel(stops[:1], 0.7)["prompt"], stops[0]["prompt"])
    with pytest.raises(ParameterError, match="position"):
        travel([], 0.0)
