"""Damaged, incomplete and dangerous checkpoint folders: each is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from diffusers import (
    AutoencoderTiny,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.diffusion.guidance import Guidance
from driftcam.engines.models.stable_diffusion.checkpoint import Checkpoint
from tests.engines.test_checkpoints import SIZE, our_result, text_config
from tests.engines.test_checkpoints import folders as folders  # a fixture
from tests.engines.test_checkpoints import models as models  # a fixture
from tests.engines.test_checkpoints import one_thread as one_thread  # a fixture
from tests.engines.test_checkpoints import pixels as pixels  # a fixture


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


def mixed(folders, path: Path, strangers: int) -> int:
    """A LoRA that fits, and so many weights beside it that fit nothing; returns how many there are."""
    tensors = load_file(next(folders["lora"].glob("*.safetensors")))
    block = "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q"
    for number in range(strangers // 2):
        for letter, shape in (("A", (2, 16)), ("B", (16, 2))):
            tensors[f"{block}{number}.lora_{letter}.weight"] = torch.zeros(*shape)
    save_file(tensors, path)
    return len(tensors)


def test_a_lora_of_which_most_fits_nothing_is_refused_with_counts(folders, tmp_path):
    path = tmp_path / "other.safetensors"
    fitting = len(load_file(next(folders["lora"].glob("*.safetensors"))))
    count = mixed(folders, path, 3 * fitting)
    with pytest.raises(ParameterError, match=f"{3 * fitting} of its {count} weights belong to no part") as error:
        Checkpoint.load(folders["sd15"], loras=[(path, 1.0)])
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_a_lora_of_which_little_fits_nothing_is_used_and_told_of(folders, tmp_path, caplog):
    path = tmp_path / "nearly.safetensors"
    count = mixed(folders, path, 2)
    Checkpoint.load(folders["sd15"], loras=[(path, 1.0)])
    assert f"2 of its {count} weights belong to no part of this checkpoint and are left out" in caplog.text


def test_a_lora_that_fits_is_used_without_a_word(folders, caplog):
    Checkpoint.load(folders["sd15"], loras=[(folders["lora"], 1.0)])
    assert "belong to no part" not in caplog.text


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("lora_unet_down_blocks_{}_attn1_to_q.hada_w1_a", "it is a LoHa (200 of its 200 weights)"),
        ("lora_unet_down_blocks_{}_attn1_to_q.lokr_w1", "it is a LoKr"),
        ("unet.down_blocks.{}.attn1.to_q.weight", "none of its 200 weights is a LoRA's"),
    ],
)
def test_other_adapters_are_called_what_they_are_in_one_line(folders, tmp_path, key, said):
    path = tmp_path / "adapter.safetensors"
    save_file({key.format(number): torch.zeros(4, 4) for number in range(200)}, path)
    with pytest.raises(ParameterError) as error:
        Checkpoint.load(folders["sd15"], loras=[(path, 1.0)])
    assert said in str(error.value) and len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_what_a_library_says_at_length_is_one_line(folder):
    """transformers and diffusers name every weight."""
    edit(folder / "unet" / "config.json", down_block_types=["NoSuchBlock"] * 900)
    with pytest.raises(ParameterError) as error:
        Checkpoint.load(folder)
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


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
