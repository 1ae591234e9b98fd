"""What a network is told besides the latent and the time: one module a condition, `base` says what one is."""
