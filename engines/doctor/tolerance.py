"""How far a backend's results may lie from those of torch in single precision."""

from __future__ import annotations

# Standard deviation of the difference over that of the reference. One bfloat16 has 8 bits of mantissa.
TOLERANCE = {"fp32": 2e-3, "fp16": 2e-2, "bf16": 0.1, "fp8": 0.15}
