"""What a session's modulation is asked to do, checked. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftcam.engines.api import ParameterError
from driftcam.engines.api.fields import Choice, Field, Integer, Number, nearest
from driftcam.engines.api.shift import span

WAVES = {"sine": "Sine", "triangle": "Triangle", "square": "Square", "steps": "Four steps"}
LEVELS = {"loudness": "Loudness", "low": "Low tones", "mid": "Middle tones", "high": "High tones"}
MOTION = {"motion": "Motion"}
MOST = 16  # modulators of a session

GROUP = "Modulation"
BPM = Number("bpm", "Tempo", GROUP, "beats a minute", default=120.0, low=20.0, high=180.0, step=0.1, unit="bpm")
FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Choice("follows", "Follows", GROUP, "what it follows", default="sine", choices=WAVES | LEVELS | MOTION),
        Number(
            "depth",
            "Depth",
            GROUP,
            "how far it is moved, in parts of the parameter's range; below 0 the other way",
            default=0.25,
            low=-1.0,
        ),
        Integer("beats", "Length", GROUP, "of a wave", default=4, low=1, high=64, unit="beats"),
    )
}


@dataclass(frozen=True)
class Modulator:
    """Of one parameter; see `FIELDS`. Construction raises `ParameterError`."""

    follows: str = FIELDS["follows"].default
    depth: float = FIELDS["depth"].default
    beats: int = FIELDS["beats"].default
    on: bool = True

    def __post_init__(self) -> None:
        for name, field in FIELDS.items():
            object.__setattr__(self, name, field.check(getattr(self, name)))
        if not isinstance(self.on, bool):
            raise ParameterError("on", self.on, "send true or false")


@dataclass(frozen=True)
class Settings:
    """Of one session; `modulators` by what they move (`engines.api.shift`)."""

    bpm: float = BPM.default
    modulators: Mapping[str, Modulator] = dataclasses.field(default_factory=dict)

    def changed(self, changes: object) -> Settings:
        """With `bpm` and, by name, `modulators`: what is not named stays, None ends one. Raises `ParameterError`."""
        given = _named(changes, "modulation", ("bpm", "modulators"))
        modulators = dict(self.modulators)
        wanted = given.get("modulators", {})
        if not isinstance(wanted, dict):
            raise ParameterError("modulators", wanted, 'send an object, as {"strength": {"follows": "sine"}}')
        for target, values in wanted.items():
            span(target)
            modulators.pop(target, None) if values is None else modulators.update({target: self._with(target, values)})
        if len(modulators) > MOST:
            raise ParameterError("modulators", f"{len(modulators)} of them", f"keep {MOST} at most")
        return Settings(BPM.check(given.get("bpm", self.bpm)), modulators)

    def _with(self, target: str, values: object) -> Modulator:
        given = _named(values, "modulators", (*FIELDS, "on"))
        return dataclasses.replace(self.modulators.get(target, Modulator()), **given)

    @property
    def active(self) -> Mapping[str, Modulator]:
        """Those that are on."""
        return {target: each for target, each in self.modulators.items() if each.on and each.depth}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as `changed` takes them."""
        return {
            "bpm": self.bpm,
            "modulators": {name: dataclasses.asdict(each) for name, each in self.modulators.items()},
        }


def _named(values: object, field: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Raises `ParameterError`."""
    if not isinstance(values, dict):
        raise ParameterError(field, values, f"send an object with {', '.join(names)}")
    for name in values:
        if name not in names:
            raise ParameterError(field, name, nearest(str(name), names))
    return values
