"""The files of a diffusers folder: what must be there, and that weights are safetensors alone.

A pickle can run code when it is read, so it is refused by name. `ParameterError` names the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from driftcam.engines.api.errors import ParameterError

LONGEST = 200
_OTHER_ADAPTERS = {"LoHa": ".hada_", "LoKr": ".lokr_", "OFT": ".oft_", "GLoRA": ".a1.", "IA3": ".on_input"}
_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParameterError("checkpoint", str(path), "the file is missing; give a diffusers folder") from None
    except (OSError, ValueError) as error:
        raise ParameterError("checkpoint", str(path), f"it cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise ParameterError("checkpoint", str(path), "it holds no JSON object")
    return content


def brief(error: Exception) -> str:
    """The first line of what a library says, and not more than a line of it: some list every weight of a model."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def check_weights(folder: Path) -> None:
    """Raises `ParameterError` unless the folder has a config and readable safetensors weights, whole or in parts."""
    read_json(folder / "config.json")
    if (folder / "adapter_config.json").exists():
        # transformers would load the adapter beside the weights on its own, and that may be a pickle.
        raise ParameterError("checkpoint", str(folder / "adapter_config.json"), "give adapters as loras")
    stem = weights_stem(folder)
    whole = folder / f"{stem}{variant_infix(folder, stem)}.safetensors"
    index = whole.with_name(whole.name + ".index.json")
    parts = [whole]
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        names = sorted(map(str, weight_map.values())) if isinstance(weight_map, dict) else []
        if not names or any(Path(name).name != name for name in names):
            raise ParameterError("checkpoint", str(index), "its weight_map must name files of this folder")
        parts = [folder / name for name in dict.fromkeys(names)]
    for part in parts:
        if not part.is_file():
            pickles = sorted(p for p in folder.glob("*") if p.suffix in _PICKLES)
            if pickles:
                advice = f"a pickle can run code when it is read; convert it to {part.name}"
                raise ParameterError("checkpoint", str(pickles[0]), advice)
            raise ParameterError("checkpoint", str(part), "the file is missing")
        check_safetensors(part)


def weights_stem(folder: Path) -> str:
    """ "model" for transformers' weights, "diffusion_pytorch_model" for diffusers'."""
    return "diffusion_pytorch_model" if "_class_name" in read_json(folder / "config.json") else "model"


def variant_infix(folder: Path, stem: str) -> str:
    """ ".fp16" where that is the only variant of the weights that the folder holds."""
    plain = (f"{stem}.safetensors", f"{stem}.safetensors.index.json")
    half = (f"{stem}.fp16.safetensors", f"{stem}.fp16.safetensors.index.json")
    if any((folder / name).is_file() for name in half) and not any((folder / name).is_file() for name in plain):
        return ".fp16"
    return ""


def check_safetensors(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise ParameterError("checkpoint", str(path), "give safetensors; a pickle can run code when it is read")
    try:
        with safe_open(path, "pt") as file:
            file.keys()
    except (OSError, SafetensorError) as error:
        raise ParameterError("checkpoint", str(path), f"it is no whole safetensors file ({error})") from None


def check_tokenizer(folder: Path) -> None:
    if not (folder / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).is_file():
                raise ParameterError("checkpoint", str(folder / name), "the file is missing")


def lora_file(path: Path) -> Path:
    """The safetensors file itself, or the only one in a folder."""
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            pickles = sorted(p for p in path.glob("*") if p.suffix in _PICKLES)
            advice = f"it holds {len(files)} safetensors files; name one"
            raise ParameterError("lora", str(pickles[0] if pickles and not files else path), advice)
        path = files[0]
    if not path.is_file():
        raise ParameterError("lora", str(path), "the file is missing")
    check_safetensors(path)
    with safe_open(path, "pt") as file:
        keys = list(file.keys())
    for kind, mark in _OTHER_ADAPTERS.items():
        if count := sum(mark in key for key in keys):
            raise ParameterError("lora", str(path), f"it is a {kind} ({count} of its {len(keys)} weights); give a LoRA")
    if not any("lora" in key for key in keys):
        advice = f"none of its {len(keys)} weights is a LoRA's; checkpoints are given as weights"
        raise ParameterError("lora", str(path), advice)
    return path


def lora_weights(path: Path) -> int:
    """How many a LoRA has, its scales left out."""
    with safe_open(path, "pt") as file:
        return sum("lora" in key and not key.endswith("alpha") for key in file.keys())  # noqa: SIM118 (it is no dict)
