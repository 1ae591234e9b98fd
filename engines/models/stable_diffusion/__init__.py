"""Stable-Diffusion-class checkpoints in the layout of diffusers."""
