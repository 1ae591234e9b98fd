"""The networks as the files that the engine ships and verifies: written, and read back to be trained further."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from driftcam.engines.api.parameters import STYLE_VECTOR_LENGTH
from driftcam.engines.models.embedded.networks import FlowUNet

FILES = ("embedded.safetensors", "style_vector.onnx")


def write_weights(
    folder: Path, encoder: nn.Module, decoder: nn.Module, unet: FlowUNet, predictor: Path, styles: int
) -> None:
    """`embedded.safetensors` (half precision), `style_vector.onnx` and their checksums; `styles` named ones."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for prefix, module in (("encoder", encoder), ("decoder", decoder), ("unet", unet)):
        for name, value in module.state_dict().items():
            tensors[f"{prefix}.{name}"] = value.to(torch.float16).contiguous()
    style = tensors["unet.style.0.weight"]
    listed = [style[:, :styles], style[:, -STYLE_VECTOR_LENGTH:]]
    tensors["unet.style.0.weight"] = torch.cat(listed, dim=1).contiguous()
    save_file(tensors, folder / "embedded.safetensors", metadata={"format": "driftcam-embedded-1"})
    shutil.copyfile(predictor, folder / "style_vector.onnx")
    for name in FILES:
        (folder / name).chmod(0o644)  # safetensors writes for the owner alone
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    (folder / "checksums.json").write_text(json.dumps(sums, indent=1) + "\n")


def widened(unet: FlowUNet, by_style: np.ndarray) -> FlowUNet:
    """The network with room for every style of `by_style`, (styles, n, numbers of a style vector).

    What it paints in the styles that it has stays the same, to the last bit. A new style begins as that of pictures
    by its teacher, whose style vectors `by_style` holds, in place of as noise.
    """
    first = unet.style[0]
    assert isinstance(first, nn.Linear)
    styles, vector = len(by_style), by_style.shape[2]
    known = first.in_features - vector
    wide = FlowUNet(style_dim=styles + vector)
    state = unet.state_dict()
    named, pictured = first.weight.detach().split([known, vector], dim=1)
    new = pictured @ torch.from_numpy(by_style[known:].mean(1)).float().T
    state["style.0.weight"] = torch.cat([named, new, pictured], dim=1)
    wide.load_state_dict(state)
    return wide
