"""The reference backend: eager torch in single precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TorchNetwork:
    """Calls the module without gradients."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module.eval()

    def __call__(self, *inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._module(*inputs)
