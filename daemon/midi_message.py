"""MIDI 1.0 messages of controllers, how they are written down, and what their 7 bits are for a parameter. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from driftcam.engines.api import TABLE, ParameterError
from driftcam.engines.api.fields import Choice, Field, Integer, Number, nearest

MOST, ON = 127, 64  # of a value; from there on a switch is on
_CONTROL = re.compile(r"(cc|note|program) (\d{1,3})(?: channel (\d{1,2}))?")
SWITCHES = ("bypass", "beat")


@dataclass(frozen=True)
class Control:
    """A knob, fader, switch or key.

    Attributes:
        kind: `cc`, `note` or `program`.
        number: 0 to 127.
        channel: 1 to 16; None for any.
    """

    kind: str
    number: int
    channel: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.number}" + (f" channel {self.channel}" if self.channel else "")


def parse_control(text: str) -> Control:
    """`cc 7`, `note 36 channel 10`, `program 3`. Raises `ParameterError`."""
    found = _CONTROL.fullmatch(text.strip().lower())
    channel = int(found[3]) if found and found[3] else None
    if not found or int(found[2]) > MOST or (channel is not None and not 1 <= channel <= 16):
        raise ParameterError("midi", text, "write cc, note or program, a number to 127, and perhaps: channel 1")
    return Control(found[1], int(found[2]), channel)


def check_target(target: str) -> str:
    """A parameter with a range or choices, `bypass`, `beat` or `preset NAME`. Raises `ParameterError`."""
    movable = [field.name for field in TABLE.values() if isinstance(field, (Number, Integer, Choice))]
    if target not in (*movable, *SWITCHES) and not (target.startswith("preset ") and target[7:].strip()):
        raise ParameterError("midi", target, f"{nearest(target, [*movable, *SWITCHES])}; or write preset NAME")
    return target


def parse_map(given: dict[str, str]) -> dict[Control, str]:
    """What each control is for. Raises `ParameterError`."""
    return {parse_control(control): check_target(target) for control, target in given.items()}


def scaled(field: Field, value: int) -> Any:
    """0 to 127 to a value of a number, a whole number or a choice."""
    if isinstance(field, Choice):
        return list(field.choices)[value * len(field.choices) // (MOST + 1)]
    assert isinstance(field, (Number, Integer))
    exact = field.low + (field.high - field.low) * value / MOST
    return round(exact / field.step) * field.step if isinstance(field, Integer) else exact


def number_of(field: Field, value: Any) -> int:
    """And back: the least of those that mean it, or the nearest."""
    if isinstance(field, Choice):
        return -(-list(field.choices).index(value) * (MOST + 1) // len(field.choices))
    assert isinstance(field, (Number, Integer))
    return round(MOST * (value - field.low) / (field.high - field.low))
