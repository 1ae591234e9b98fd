"""Kinds of live parameters: what each accepts, how it is typed, and what programs and people are told of it."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.styles import STYLE_NAMES, match_text, parse_styles

EMBEDDED, CHECKPOINT = "embedded", "checkpoint"
MODELS = {EMBEDDED: "the embedded model", CHECKPOINT: "a Stable Diffusion checkpoint"}
MOST_WEIGHT = 1e6  # weights are normalised, so only their ratios count

Pairs = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Field:
    """One live parameter.

    Attributes:
        name: for programs.
        label: for people, at a control.
        group: of the controls that stand together, for people: `Style`, `Look`, `More` or a name of one's own.
        about: what it does, for people.
        default: its first value. Checked, so that no table can start with what it would refuse.
        unit: of a number, for people, or empty.
        models: those of `MODELS` that it acts on.
        kind: of value, for programs.
        typed: whether a person can type a value.
    """

    name: str
    label: str
    group: str
    about: str
    default: Any
    unit: str = dataclasses.field(default="", kw_only=True)
    models: tuple[str, ...] = dataclasses.field(default=tuple(MODELS), kw_only=True)
    kind: ClassVar[str]
    typed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "default", self.check(self.default))

    @property
    def example(self) -> str:
        """How a value is typed, for the help of a command."""
        raise NotImplementedError

    def check(self, value: Any) -> Any:
        """The value as it is kept. Raises `ParameterError`."""
        raise NotImplementedError

    def check_model(self, value: Any, model: str) -> None:
        """Raises `ParameterError` for a checked value that `model` cannot do.

        Numbers that it does not have are let pass: a preset carries all of them, whichever model it was made with.
        """

    def parse(self, text: str) -> Any:
        """What somebody typed, still to be checked. Raises `ParameterError`."""
        return text

    def schema(self) -> dict[str, Any]:
        """JSON schema of the value."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the same names for each kind; what a kind does not have is null."""
        names = [*(field.name for field in dataclasses.fields(Field)), "low", "high", "step"]
        values = {name: getattr(self, name, None) for name in names}
        choices: Iterable[str] = getattr(self, "choices", ())
        labels = list(choices.values()) if isinstance(choices, Mapping) else list(choices)
        plain = {"kind": self.kind, "models": list(self.models), "choices": list(choices), "choice_labels": labels}
        return {**values, **plain}

    def _refuse_model(self, value: Any) -> None:
        have = " and ".join(MODELS[model] for model in self.models)
        raise ParameterError(self.name, value, f"only {have} takes one; leave it empty")


@dataclass(frozen=True, kw_only=True)
class Number(Field):
    """A number from `low` to `high`; `step` is that of a slider, finer values are taken too.

    Attributes:
        modulates: an engine moves it from frame to frame without beginning anything anew (`engines.api.shift`).
    """

    low: float = 0.0
    high: float = 1.0
    step: float = 0.01
    modulates: bool = False
    kind = "number"

    @property
    def example(self) -> str:
        return f"{self.low:g}…{self.high:g}"

    def check(self, value: Any) -> float:
        return checked_number(self.name, value, self.low, self.high)

    def parse(self, text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high, "description": self.about}


@dataclass(frozen=True, kw_only=True)
class Integer(Field):
    """A whole number from `low` to `high`, a multiple of `step`."""

    low: int = 0
    high: int
    step: int = 1
    kind = "integer"

    @property
    def example(self) -> str:
        return f"{self.low}…{self.high}" if self.high < 10**6 else "N"

    def check(self, value: Any) -> int:
        number = checked_integer(self.name, value, self.low, self.high)
        if number % self.step:
            near = min(max(self.low, round(number / self.step) * self.step), self.high)
            raise ParameterError(self.name, value, f"give a multiple of {self.step}, for example {near}")
        return number

    def parse(self, text: str) -> Any:
        try:
            return int(text)
        except ValueError:
            return text

    def schema(self) -> dict[str, Any]:
        bounds = {"type": "integer", "minimum": self.low, "maximum": self.high, "description": self.about}
        return bounds if self.step == 1 else {**bounds, "multipleOf": self.step}


@dataclass(frozen=True, kw_only=True)
class Choice(Field):
    """One of `choices`, each with a label for people."""

    choices: Mapping[str, str]
    kind = "choice"

    @property
    def example(self) -> str:
        return "|".join(self.choices)

    def check(self, value: Any) -> str:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value  # 60 is as good as "60"
        if not isinstance(text, str) or text not in self.choices:
            raise ParameterError(self.name, value, nearest(str(value), self.choices))
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.choices), "description": self.about}


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """Words, at most `longest` letters, or none."""

    longest: int
    kind = "text"

    @property
    def example(self) -> str:
        return "TEXT"

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > self.longest:
            raise ParameterError(self.name, value, f"give a text of at most {self.longest} letters")
        return value

    def check_model(self, value: Any, model: str) -> None:
        if value and model not in self.models:
            self._refuse_model(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.longest, "description": self.about}


@dataclass(frozen=True, kw_only=True)
class Styles(Field):
    """Names with weights, normalised to sum 1. `choices` are those that the embedded model was trained with."""

    longest: int = 64
    choices: tuple[str, ...] = STYLE_NAMES
    kind = "styles"

    @property
    def example(self) -> str:
        return "NAME[:WEIGHT][,NAME…]"

    def check(self, value: Any) -> Pairs:
        total: dict[str, float] = {}
        for name, weight in pairs(self.name, value, "give pairs of a style's name and its weight"):
            if not isinstance(name, str) or not 0 < len(name) <= self.longest or not name.isprintable():
                raise ParameterError(self.name, name, f"give a name of 1 to {self.longest} letters")
            total[name] = total.get(name, 0.0) + checked_number("style weight", weight, 0.0, MOST_WEIGHT)
        if not total:
            raise ParameterError(self.name, value, "give at least one style")
        scale = sum(total.values())
        if scale <= 0:
            raise ParameterError(self.name, value, "give at least one weight above 0")
        return tuple((name, weight / scale) for name, weight in total.items() if weight > 0)

    def check_model(self, value: Any, model: str) -> None:
        if model == EMBEDDED and (unknown := [name for name, _ in value if name not in self.choices]):
            raise ParameterError(self.name, unknown[0], f"there is no such style; {nearest(unknown[0], self.choices)}")

    def parse(self, text: str) -> Pairs:
        return parse_styles(text)

    def schema(self) -> dict[str, Any]:
        name = {"type": "string", "minLength": 1, "maxLength": self.longest, "examples": list(self.choices)}
        pair = _pair(name, {"type": "number", "minimum": 0, "maximum": MOST_WEIGHT})
        return {"type": "array", "items": pair, "minItems": 1, "description": self.about}


@dataclass(frozen=True, kw_only=True)
class Prompts(Field):
    """At most `most` texts of 1 to `longest` letters with weights above 0, or none."""

    most: int
    longest: int
    kind = "prompts"

    @property
    def example(self) -> str:
        return "TEXT"

    def check(self, value: Any) -> Pairs:
        advice = f"give at most {self.most} pairs of a text of 1 to {self.longest} letters and a weight above 0"
        given = pairs(self.name, value, advice)
        if len(given) > self.most:
            raise ParameterError(self.name, f"{len(given)} texts", advice)
        for text, weight in given:
            if not isinstance(text, str) or not 0 < len(text) <= self.longest:
                raise ParameterError(self.name, text, advice)
            if checked_number("prompt weight", weight, 0.0, MOST_WEIGHT) <= 0:
                raise ParameterError(self.name, weight, advice)
        return tuple((text, float(weight)) for text, weight in given)

    def check_model(self, value: Any, model: str) -> None:
        if model == EMBEDDED:  # which is led by the styles that words resolve to
            for text, _ in value:
                match_text(text)

    def parse(self, text: str) -> Pairs:
        return ((text, 1.0),)

    def schema(self) -> dict[str, Any]:
        text = {"type": "string", "minLength": 1, "maxLength": self.longest}
        pair = _pair(text, {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_WEIGHT})
        return {"type": "array", "items": pair, "maxItems": self.most, "description": self.about}


@dataclass(frozen=True, kw_only=True)
class Vector(Field):
    """`length` finite numbers that the engine made, or None."""

    length: int
    kind = "vector"
    typed = False

    @property
    def example(self) -> str:
        return "PATH"

    def check(self, value: Any) -> tuple[float, ...] | None:
        if value is None:
            return None
        try:
            vector = tuple(float(x) for x in value)
        except (TypeError, ValueError, OverflowError):
            vector = ()
        if len(vector) != self.length or not all(math.isfinite(x) for x in vector):
            raise ParameterError(self.name, "…", f"give {self.length} finite numbers, as Engine.set_plane answers")
        return vector

    def check_model(self, value: Any, model: str) -> None:
        if value is not None and model not in self.models:
            self._refuse_model("…")

    def schema(self) -> dict[str, Any]:
        return {"type": "null", "description": "null ends it"}


@dataclass(frozen=True, kw_only=True)
class Vectors(Field):
    """At most `most` vectors of `length` finite numbers each, made of pictures."""

    most: int
    length: int
    kind = "vectors"
    typed = False

    @property
    def example(self) -> str:
        return "PATH"

    def check(self, value: Any) -> tuple[tuple[float, ...], ...]:
        advice = f"give at most {self.most} lists of {self.length} finite numbers, or none"
        try:
            vectors = tuple(tuple(float(x) for x in vector) for vector in value)
        except (TypeError, ValueError, OverflowError):
            raise ParameterError(self.name, "…", advice) from None
        if any(len(vector) != self.length or not all(math.isfinite(x) for x in vector) for vector in vectors):
            raise ParameterError(self.name, "…", advice)
        if len(vectors) > self.most:
            raise ParameterError(self.name, f"{len(vectors)} of them", f"give at most {self.most}; take one away first")
        return vectors

    def schema(self) -> dict[str, Any]:
        vector = {"type": "array", "items": {"type": "number"}, "minItems": self.length, "maxItems": self.length}
        return {"type": "array", "items": vector, "maxItems": self.most, "description": self.about}


def nearest(name: str, choices: Iterable[str]) -> str:
    """Advice on a name that is not among `choices`."""
    known = list(choices)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(known)}"


def checked_number(name: str, value: Any, low: float, high: float) -> float:
    """Raises `ParameterError` for what is no number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ParameterError(name, value, f"give a number from {low:g} to {high:g}")
    return float(value)


def checked_integer(name: str, value: Any, low: int, high: int) -> int:
    """Raises `ParameterError` for what is no whole number from `low` to `high`."""
    advice = f"give a whole number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ParameterError(name, value, advice)
    if value != int(value):
        raise ParameterError(name, value, advice)
    return int(value)


def pairs(name: str, value: Any, advice: str) -> list[tuple[Any, Any]]:
    """Raises `ParameterError` for what are no pairs."""
    try:
        return [(first, second) for first, second in value]
    except (TypeError, ValueError):
        raise ParameterError(name, value, advice) from None


def _pair(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "prefixItems": [first, second], "minItems": 2, "maxItems": 2}
