"""Noise that drifts with the picture: white Gaussian fields carried along a flow, and their reading as latent cells."""

from driftcam.engines.noise.field import WarpedField
from driftcam.engines.noise.readout import KERNELS, Readout

__all__ = ["KERNELS", "Readout", "WarpedField"]
