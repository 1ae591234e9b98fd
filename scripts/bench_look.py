"""What the benchmarks paint, so that their published numbers stay comparable whatever the defaults are."""

from __future__ import annotations

from driftcam import Parameters

LOOK = Parameters(styles=(("starry-night", 1.0),), strength=1.0, freedom=0.3, steps=2, memory=0.0)
