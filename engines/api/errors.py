"""Errors that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST_ON_WIRE = 1000  # characters of a text; a message's JSON is bounded


class ParameterError(ValueError):
    """A value that cannot be used. The message names the field, the value and what to do.

    Attributes:
        field: name of the parameter, file or option.
        value: what was given.
        advice: what would be accepted.
    """

    def __init__(self, field: str, value: object, advice: str) -> None:
        self.field, self.value, self.advice = field, value, advice
        super().__init__(f"{field}: {value!r} cannot be used; {advice}")

    def to_wire(self) -> dict[str, Any]:
        """The JSON of the bus's ERROR, short enough for a message; what JSON has no words for goes as its text."""
        value = self.value if isinstance(self.value, (int, float, bool)) else _cut(str(self.value))
        short = ParameterError(_cut(self.field), value, _cut(self.advice))
        return {"field": short.field, "value": value, "advice": short.advice, "text": str(short)}

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> ParameterError:
        """The inverse of `to_wire`; the text is the advice where there is none, all else that is missing is empty."""
        advice = body.get("advice") or body.get("text", "")
        return cls(str(body.get("field", "")), body.get("value", ""), str(advice))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_ON_WIRE else f"{text[:LONGEST_ON_WIRE]}…"
