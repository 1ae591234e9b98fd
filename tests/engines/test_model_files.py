"""What a person gives as weights and is none: the error says what it is, and what is wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.model_files import ModelFiles
from driftcam.engines.models.registry import open_source


def checkpoint(folder: Path) -> Path:
    """As far as it matters here."""
    for name in ("unet", "vae", "text_encoder"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps({"_class_name": name}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def refusal(weights: Path, **files: Path) -> str:
    with pytest.raises(ParameterError) as error:
        open_source(ModelFiles(weights, **files))
    text = str(error.value)
    assert "reinstall" not in text and "\n" not in text and len(text) < 400
    given = files.get("vae", weights)
    assert error.value.field == ("vae" if files else "weights") and str(error.value.value).startswith(str(given))
    return text


def test_a_single_file_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "dreamshaper.safetensors"
    save_file({"model.diffusion_model.out.weight": torch.zeros(2)}, path)
    text = refusal(path)
    assert "it is a single file" in text and "model_index.json" in text
    assert "no safetensors" in refusal(Path(__file__))


@pytest.mark.parametrize("name", ["stabilityai/sd-turbo", "runwayml/stable-diffusion-v1-5"])
def test_a_name_on_a_hub_is_called_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = refusal(Path(name))
    assert "nothing is fetched" in text and f"hf download {name}" in text


def test_a_folder_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_part_of_a_checkpoint_is_called_one(part: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "sd")
    text = refusal(folder / part)
    assert "a part of a checkpoint" in text and f"give the whole, {str(folder)!r}" in text


def test_a_network_alone_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "a single network (config.json)" in refusal(tmp_path)


@pytest.mark.parametrize("below", ["sd", "snapshots/0123abc"])
def test_a_checkpoint_that_lies_deeper_is_found(below: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / below)
    assert f"lies deeper; give {str(folder)!r}" in refusal(tmp_path)


def test_an_empty_folder_is_told_what_it_lacks(tmp_path: Path) -> None:
    assert "it holds no model_index.json" in refusal(tmp_path)


def test_weights_of_the_embedded_model_elsewhere_do_not_ask_for_another_installation(tmp_path: Path) -> None:
    (tmp_path / "embedded.safetensors").write_bytes(b"nothing")
    assert "give another folder" in refusal(tmp_path)
    (tmp_path / "checksums.json").write_text(json.dumps({"embedded.safetensors": "0"}))
    assert "checksum does not match" in refusal(tmp_path)


def test_an_autoencoder_that_is_none_is_told_the_same(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("peft")
    folder = checkpoint(tmp_path / "sd")
    single = tmp_path / "vae.safetensors"
    save_file({"decoder.weight": torch.zeros(2)}, single)
    assert "it is a single file" in refusal(folder, vae=single)
    assert "whole checkpoint" in refusal(folder, vae=folder)
    assert "nothing is fetched" in refusal(folder, vae=Path("madebyollin/taesd"))
