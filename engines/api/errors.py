"""Errors that a person can act on."""

from __future__ import annotations


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
