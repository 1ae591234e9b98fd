"""Noise schedules, guidance, and the denoising of frames one by one or as a stream batch."""
