"""What a controller beside the machine may do to a session, whichever language it speaks: OSC, MIDI."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from driftcam.daemon.session.presets import Presets
from driftcam.daemon.session.sessions import Sessions
from driftcam.engines.api import TABLE, ParameterError


class Controls:
    """Parameters by their names, `prompt`, `preset`, `bypass`, `beat`."""

    def __init__(self, sessions: Sessions, presets: Presets) -> None:
        self.sessions, self._presets = sessions, presets

    async def change(self, session: str, name: str, values: tuple[Any, ...]) -> None:
        """Raises `ParameterError`.

        Args:
            name: a parameter, `prompt`, `preset` with the name of one and perhaps the seconds on the way to it,
                `bypass` with 1 or 0, or with nothing for the other one of both, or `beat`: one falls now.
        """
        if (found := self.sessions.get(session)) is None:
            raise ParameterError("session", session, "there is none of this name")
        if name == "bypass":
            found.bypass(_switch(name, values) if values else not found.bypassed)
        elif name == "beat":
            found.modulation.beat(time.monotonic_ns())
        elif name == "preset":
            changes, travel = await asyncio.to_thread(self._presets.load, _one(name, values[:1])), values[1:2]
            await found.control.change(changes, *travel)
        else:
            await found.control.change({name: _value(name, values)})


def _one(name: str, values: tuple[Any, ...]) -> Any:
    if len(values) != 1:
        raise ParameterError(name, list(values), "send one value")
    return values[0]


def _switch(name: str, values: tuple[Any, ...]) -> bool:
    value = _one(name, values)
    if value not in (0, 1):
        raise ParameterError(name, value, "send 1 or 0")
    return bool(value)


def _value(name: str, values: tuple[Any, ...]) -> Any:
    """As `Control.change` takes it; numbers as the parameter's kind wants them. Raises `ParameterError`."""
    kind = TABLE[name].kind if name in TABLE else ""
    if kind in ("styles", "prompts"):
        return _weighted(name, values)
    value = _one(name, values)
    if kind == "integer" and isinstance(value, float):
        return round(value) if abs(value) < 2**63 else value
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _weighted(name: str, values: tuple[Any, ...]) -> list[list[Any]]:
    """`a .3 b c 2` to [[a, .3], [b, 1], [c, 2]]."""
    pairs: list[list[Any]] = []
    for value in values:
        if isinstance(value, str):
            pairs.append([value, 1.0])
        elif pairs and isinstance(value, (int, float)):
            pairs[-1][1] = float(value)
        else:
            raise ParameterError(name, list(values), "send names or texts, each with its weight after it")
    return pairs
