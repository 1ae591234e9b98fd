"""Write the trained networks as the files that the engine ships and verifies."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

FILES = ("embedded.safetensors", "style_vector.onnx")


def write_weights(folder: Path, encoder: nn.Module, decoder: nn.Module, unet: nn.Module, predictor: Path) -> None:
    """`embedded.safetensors` (half precision), `style_vector.onnx` and their checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for prefix, module in (("encoder", encoder), ("decoder", decoder), ("unet", unet)):
        for name, value in module.state_dict().items():
            tensors[f"{prefix}.{name}"] = value.to(torch.float16).contiguous()
    save_file(tensors, folder / "embedded.safetensors", metadata={"format": "driftcam-embedded-1"})
    shutil.copyfile(predictor, folder / "style_vector.onnx")
    for name in FILES:
        (folder / name).chmod(0o644)  # safetensors writes for the owner alone
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    (folder / "checksums.json").write_text(json.dumps(sums, indent=1) + "\n")
