"""Waves over time. Pure."""

from __future__ import annotations

import math

STEPS = 4


def wave(kind: str, turns: float) -> float:
    """-1 to 1 at so many turns from a beat, on which all but the steps are highest. Raises `KeyError`."""
    return _WAVES[kind](turns % 1.0)


_WAVES = {
    "sine": lambda part: math.cos(2 * math.pi * part),
    "triangle": lambda part: abs(4 * part - 2) - 1,
    "square": lambda part: 1.0 if part < 0.5 else -1.0,
    "steps": lambda part: 2 * math.floor(part * STEPS) / (STEPS - 1) - 1,
}
