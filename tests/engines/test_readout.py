"""The readout keeps white noise white and a shift a shift."""

from __future__ import annotations

import numpy as np
import pytest

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.noise import KERNELS, Readout, WarpedField
from driftcam.engines.noise.readout import band_limited_kernel, kernel_bank


def autocorrelation(shift: float, points: int) -> float:
    """Σ_q h(q)·h(q − shift) of the band-limited kernel for a shift in points."""
    whole = int(np.floor(shift + 0.5))
    a, b = band_limited_kernel(points), band_limited_kernel(points, shift - whole)
    room = np.zeros(3 * len(a))
    first, second = room.copy(), room.copy()
    first[len(a) : 2 * len(a)] = a
    second[len(a) - whole : 2 * len(a) - whole] = b
    return float(first @ second)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("points", [3, 4, 5, 6, 8])
def test_translates_by_whole_cells_are_orthonormal(name: str, points: int) -> None:
    if name == "band_limited" and points % 2:
        with pytest.raises(ParameterError, match="points"):
            Readout(name, points, 8, 8, 1)
        return
    for kernel in kernel_bank(name, points).astype(np.float64):
        for m in range(len(kernel) // points + 1):
            product = kernel[m * points :] @ kernel[: len(kernel) - m * points]
            assert abs(product - (m == 0)) < 1e-6


def test_kernel_is_orthonormal_before_rounding_to_float32() -> None:
    kernel = band_limited_kernel(4, 0.3)
    products = [kernel[4 * m :] @ kernel[: len(kernel) - 4 * m] for m in range(6)]
    np.testing.assert_allclose(products, np.eye(1, 6)[0], atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [(8, 8), (12, 7), (2, 3)])
@pytest.mark.parametrize("phase", [(0.0, 0.0), (0.25, -0.5)])
def test_reading_is_an_orthonormal_map_of_the_field(
    name: str, size: tuple[int, int], phase: tuple[float, float]
) -> None:
    """Exactly white, borders included: the rows of the map are orthonormal."""
    height, width = size
    basis = np.eye(16 * height * width, dtype=np.float32)
    out = np.empty((len(basis), height, width), np.float32)
    Readout(name, 4, height, width, len(basis)).read(basis, np.float32(phase), out)
    rows = out.reshape(len(basis), -1)
    np.testing.assert_allclose(rows.T @ rows, np.eye(height * width), atol=2e-6)


def test_block_mean_is_the_papers_readout() -> None:
    """The mean over d × d points, times d."""
    values = np.random.default_rng(0).standard_normal((5 * 4 * 7 * 4, 3)).astype(np.float32)
    out = np.empty((3, 5, 7), np.float32)
    Readout("block_mean", 4, 5, 7, 3).read(values, np.zeros(2), out)
    means = values.reshape(5, 4, 7, 4, 3).mean((1, 3)) * 4
    np.testing.assert_allclose(out, means.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("points", [4, 8])
@pytest.mark.parametrize("d", [0.06, 0.125, 0.2, 0.3, 0.375, 0.5, 0.61, 0.75, 0.83, 0.9, 0.97])
def test_sub_cell_shift_correlates_as_the_kernel_does(points: int, d: float) -> None:
    """The field moves by d cells; the same cells are read before and after."""
    cells, channels = 32, 8
    readings = {}
    for name in KERNELS:
        field = WarpedField(cells * points, cells * points, channels, 2)
        readout = Readout(name, points, cells, cells, channels)
        before, after = np.empty((2, channels, cells, cells), np.float32)
        readout.read(field.values, field.phase, before)
        forward = np.full((cells * points, cells * points, 2), (d * points, 0), np.float32)
        field.step(forward, -forward)
        readout.read(field.values, field.phase, after)
        inner = np.s_[:, :, 4:-4]
        readings[name] = float(np.corrcoef(before[inner].ravel(), after[inner].ravel())[0, 1])
    assert readings["band_limited"] == pytest.approx(autocorrelation(d * points, points), abs=0.03)
    # the block mean moves by whole points; 1 − d is what it reads of an exact shift
    assert autocorrelation(d * points, points) > 1 - d - 0.002


def test_the_kernel_is_close_to_the_sinc() -> None:
    d = np.arange(1, 32) / 32
    ours = np.array([autocorrelation(4 * x, 4) for x in d])
    np.testing.assert_allclose(ours, np.sinc(d), atol=0.03)
    assert (ours > 1 - d)[d <= 0.9].all()


def test_unknown_kernel_is_named() -> None:
    with pytest.raises(ParameterError, match="readout"):
        Readout("gaussian", 4, 8, 8, 1)
