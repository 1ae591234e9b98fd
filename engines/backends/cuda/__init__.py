"""Frames to tensors and back on an NVIDIA card: kernels, streams, staging."""
