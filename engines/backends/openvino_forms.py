"""Layers in forms that OpenVINO runs faster, with the same results up to rounding.

OpenVINO's convolutions want the channels of a pixel side by side. Its group normalisation and its pixel unshuffle want
planes, so that the picture is turned over before and after each; where a plane takes whole pages of memory (at 512²,
but not at 384²) that costs a sixth of the network's time.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def for_openvino(module: nn.Module) -> nn.Module:
    """A copy with every `GroupNorm`, and every `PixelUnshuffle` before a 1 × 1 convolution, in its other form.

    The weights are the same tensors.
    """
    result = copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})
    for part in list(result.modules()):
        for name, child in part._modules.items():  # `named_children` leaves out what is there twice
            if isinstance(child, nn.GroupNorm):
                setattr(part, name, _GroupNorm(child))
        if isinstance(part, nn.Sequential):
            _join(part)
    return result


def _join(layers: nn.Sequential) -> None:
    for i in range(len(layers) - 1):
        unshuffle, conv = layers[i], layers[i + 1]
        if isinstance(unshuffle, nn.PixelUnshuffle) and isinstance(conv, nn.Conv2d) and _is_pointwise(conv):
            layers[i], layers[i + 1] = nn.Identity(), _unshuffling(conv, unshuffle.downscale_factor)


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)


class _GroupNorm(nn.Module):
    """Means of channels over all places, and of groups over their channels: nothing but the channels' means moves.

    Takes (B, C, …) with at least one axis of places; two passes, so that no digits cancel.
    """

    group: Tensor

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.size, self.eps = norm.num_groups, norm.num_channels // norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("group", torch.arange(norm.num_channels) // self.size)

    def forward(self, x: Tensor) -> Tensor:
        column = (1, -1, *(1 for _ in x.shape[2:]))
        deviation = x - self._means(x)
        gain = torch.rsqrt(self._means(deviation * deviation) + self.eps)
        if self.weight is None:
            return deviation * gain
        return deviation * (gain * self.weight.view(column)) + self.bias.view(column)

    def _means(self, x: Tensor) -> Tensor:
        """Mean of each channel's group, (B, C, 1, …)."""
        means = x.mean(tuple(range(2, x.ndim))).view(-1, self.groups, self.size).mean(2)
        return means.index_select(1, self.group).view(-1, self.groups * self.size, *(1 for _ in x.shape[2:]))


def _unshuffling(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """One convolution that does what a pixel unshuffle by `factor` and then `conv` do."""
    channels = conv.in_channels // factor**2
    result = nn.Conv2d(channels, conv.out_channels, factor, stride=factor, bias=conv.bias is not None)
    result.weight = nn.Parameter(conv.weight.detach().view(conv.out_channels, channels, factor, factor))
    result.bias = conv.bias
    return result
