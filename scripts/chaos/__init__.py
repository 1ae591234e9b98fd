"""A daemon under everything that can go wrong, random but seeded: `python -m scripts.chaos --seconds 600 --seed 1`."""
