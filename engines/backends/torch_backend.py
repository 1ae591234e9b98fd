"""The reference backend: eager torch, in single precision on the CPU, in half precision on a CUDA device."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class TorchNetwork:
    """Calls the module without gradients; inputs and result lie on the CPU."""

    def __init__(self, module: nn.Module, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._module = module.eval()
        if self._device.type == "cuda":
            self._module = copy.deepcopy(module).to(self._device, torch.float16)

    def __call__(self, *inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            if self._device.type == "cpu":
                return self._module(*inputs)
            moved = (x.to(self._device, torch.float16 if x.is_floating_point() else x.dtype) for x in inputs)
            result = self._module(*moved)
            return result.float().cpu() if result.is_floating_point() else result.cpu()
