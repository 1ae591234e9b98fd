"""Noise that drifts with the picture: white Gaussian fields carried along a flow, and their reading as latent cells."""

from engines.noise.field import WarpedField
from engines.noise.readout import KERNELS, Readout

__all__ = ["KERNELS", "Readout", "WarpedField"]
