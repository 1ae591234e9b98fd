"""Blends of prompts."""

from __future__ import annotations

import pytest
import torch

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.models.stable_diffusion.prompts import blend, lerp, slerp


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
