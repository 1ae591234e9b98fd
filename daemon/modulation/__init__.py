"""Parameters that follow time, sound or motion, without a flash."""
