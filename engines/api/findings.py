"""What `driftcam doctor` finds out, passed from the engine's room as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["good", "absent", "bad"]
"""`absent` is what Driftcam does without; `bad` is what keeps it from working, and makes the exit status 1."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: the part of the machine.
        state: see `State`.
        detail: what was found.
        advice: what to do about it, or empty.
    """

    what: str
    state: State
    detail: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        return cls(values["what"], values["state"], values["detail"], values.get("advice", ""))
