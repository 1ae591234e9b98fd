"""Blending of prompts, on their embeddings: pure functions, no encoder.

An embedding here is one prompt's row of a network's condition, a dict of tensors (`diffusion.frame.Rows`):
the token embeddings (tokens, width) and, for SDXL, a pooled vector (width,).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError

Embedding = dict[str, Tensor]


def lerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """(1−u)·a + u·b."""
    return a + share * (b - a)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Along the arc between a and b, for each vector of the last axis (Shoemake 1985); keeps unit vectors unit.

    Where two vectors are almost parallel or opposite the arc is not defined and this is `lerp`.
    """
    wide_a, wide_b = a.float(), b.float()
    cos = torch.nn.functional.cosine_similarity(wide_a, wide_b, dim=-1)[..., None]
    angle = torch.acos(cos.clamp(-1, 1))
    arc = (torch.sin((1 - share) * angle) * wide_a + torch.sin(share * angle) * wide_b) / torch.sin(angle)
    return torch.where(cos.abs() < 0.9995, arc, lerp(wide_a, wide_b, share)).to(a.dtype)


def blend(embeddings: Sequence[Embedding], weights: Sequence[float]) -> Embedding:
    """One embedding out of several, by weight: the arcs from each to the next, so that norms do not shrink.

    Args:
        embeddings: at least one, all with the same keys and shapes.
        weights: one non-negative number each, not all zero; only their ratios count.
    """
    if len(embeddings) != len(weights) or not embeddings:
        raise ParameterError("prompts", len(embeddings), "give at least one prompt and a weight for each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) <= 0:
        raise ParameterError("prompt weights", list(weights), "give numbers from 0 upwards, at least one above 0")
    result, total = embeddings[0], weights[0]
    for embedding, weight in zip(embeddings[1:], weights[1:], strict=True):
        total += weight
        if weight > 0:
            share = weight / total
            result = embedding if share == 1 else {k: slerp(v, embedding[k], share) for k, v in result.items()}
    return result
