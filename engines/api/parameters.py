"""The live parameters of one stream: typed, immutable, checked on construction."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.styles import STYLE_NAMES

GUIDANCE_MODES = ("none", "full", "self", "initialize")
NOISE_MODES = ("warped", "fixed", "independent")
STYLE_VECTOR_LENGTH = 100
SIZE_RANGE = (64, 1024)
MAX_PROMPTS, MAX_PROMPT = 8, 1000

RANGES: dict[str, tuple[float, float]] = {
    "strength": (0.0, 1.0),
    "freedom": (0.0, 1.0),
    "steps": (1, 8),
    "guidance_scale": (0.0, 20.0),
    "delta": (0.0, 2.0),
    "seed": (0, 2**63 - 1),
    "style_image_weight": (0.0, 1.0),
    "refresh": (0.0, 1.0),
    "degradation": (0.0, 1.0),
    "similarity_threshold": (0.0, 1.0),
    "max_skip": (0, 10_000),
}
INTEGERS = frozenset({"steps", "seed", "max_skip", "width", "height"})


@dataclass(frozen=True)
class Parameters:
    """Everything that can be changed while a stream runs. Construction raises `ParameterError`.

    Attributes:
        styles: named styles and their weights (any positive numbers; normalised to sum 1).
        prompts: texts and their weights for a checkpoint (any positive numbers). The embedded model is led by `styles`,
            to which words resolve (`engines.api.styles.match_text`); a checkpoint without prompts reads their names.
        style_vector: 100 numbers from a picture (`Engine.style_vector`), or None.
        style_image_weight: share of `style_vector` in the blend with `styles`, 0 to 1.
        strength: share of the noise schedule that is run; 0 gives back the input, 1 starts from noise.
        freedom: how much of the photograph is hidden from the model; 0 steady, 1 free texture.
        steps: denoising steps, 1 to 8.
        guidance: one of `GUIDANCE_MODES` (StreamDiffusion, arXiv 2312.12491).
        guidance_scale: g; guidance acts for g > 1.
        delta: weight of the residual noise in the modes `self` and `initialize`.
        seed: start of every random draw of the stream.
        width, height: size of the model's picture in pixels, multiples of 8, 64 to 1024.
        noise: `warped` along the optical flow, `fixed` to the picture's cells or `independent` per frame.
        refresh: share of fresh noise mixed into the warped field per frame (α).
        degradation: γ of Go-with-the-Flow (arXiv 2501.08331): 0 keeps the warp, 1 is independent noise.
        similarity_threshold: η of the similarity gate; 0 switches it off, .98 skips near-still frames.
        max_skip: most frames in a row that the gate may skip.
    """

    styles: tuple[tuple[str, float], ...] = (("starry-night", 1.0),)
    prompts: tuple[tuple[str, float], ...] = ()
    style_vector: tuple[float, ...] | None = None
    style_image_weight: float = 1.0
    strength: float = 1.0
    freedom: float = 0.3
    steps: int = 2
    guidance: str = "none"
    guidance_scale: float = 1.0
    delta: float = 1.0
    seed: int = 0
    width: int = 384
    height: int = 384
    noise: str = "warped"
    refresh: float = 0.0
    degradation: float = 0.0
    similarity_threshold: float = 0.0
    max_skip: int = 10

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "styles", _checked_styles(self.styles))
        set_(self, "prompts", _checked_prompts(self.prompts))
        set_(self, "style_vector", _checked_vector(self.style_vector))
        for name, (low, high) in RANGES.items():
            set_(self, name, _checked_number(name, getattr(self, name), low, high))
        for name in ("width", "height"):
            set_(self, name, _checked_side(name, getattr(self, name)))
        _check_choice("guidance", self.guidance, GUIDANCE_MODES)
        _check_choice("noise", self.noise, NOISE_MODES)

    def replace(self, **changes: Any) -> Parameters:
        """A changed copy. Raises `ParameterError` naming the field; `self` stays as it was."""
        for name in changes:
            if name not in _FIELDS:
                raise ParameterError(name, changes[name], f"there is no such parameter; {_nearest(name, _FIELDS)}")
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Parameters:
        """The inverse of `to_dict`; missing fields take their defaults."""
        return cls().replace(**values)


_FIELDS = tuple(field.name for field in dataclasses.fields(Parameters))


def _nearest(name: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(choices)}"


def _checked_number(name: str, value: Any, low: float, high: float) -> float | int:
    integer = name in INTEGERS
    kind = "a whole number" if integer else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ParameterError(name, value, f"give {kind} from {low:g} to {high:g}")
    if not low <= value <= high or (integer and value != int(value)):
        raise ParameterError(name, value, f"give {kind} from {low:g} to {high:g}")
    return int(value) if integer else float(value)


def _checked_side(name: str, value: Any) -> int:
    low, high = SIZE_RANGE
    side = int(_checked_number(name, value, low, high))
    if side % 8:
        raise ParameterError(name, value, f"give a multiple of 8, for example {max(low, round(side / 8) * 8)}")
    return side


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ParameterError(name, value, _nearest(str(value), choices))


def _checked_styles(value: Any) -> tuple[tuple[str, float], ...]:
    """Unique names with positive weights that sum to 1."""
    try:
        pairs = [(name, weight) for name, weight in value]
    except (TypeError, ValueError):
        raise ParameterError("styles", value, "give pairs of a style's name and its weight") from None
    if not pairs:
        raise ParameterError("styles", value, "give at least one style")
    total: dict[str, float] = {}
    for name, weight in pairs:
        if name not in STYLE_NAMES:
            raise ParameterError("styles", name, f"there is no such style; {_nearest(str(name), STYLE_NAMES)}")
        total[name] = total.get(name, 0.0) + _checked_number("style weight", weight, 0.0, 1e6)
    scale = sum(total.values())
    if scale <= 0:
        raise ParameterError("styles", value, "give at least one weight above 0")
    return tuple((name, weight / scale) for name, weight in total.items() if weight > 0)


def _checked_prompts(value: Any) -> tuple[tuple[str, float], ...]:
    """At most `MAX_PROMPTS` texts with weights above 0."""
    advice = f"give at most {MAX_PROMPTS} pairs of a text of 1 to {MAX_PROMPT} letters and a weight above 0"
    try:
        pairs = [(text, weight) for text, weight in value]
    except (TypeError, ValueError):
        raise ParameterError("prompts", value, advice) from None
    if len(pairs) > MAX_PROMPTS:
        raise ParameterError("prompts", f"{len(pairs)} texts", advice)
    for text, weight in pairs:
        if not isinstance(text, str) or not 0 < len(text) <= MAX_PROMPT:
            raise ParameterError("prompts", text, advice)
        if _checked_number("prompt weight", weight, 0.0, 1e6) <= 0:
            raise ParameterError("prompts", weight, advice)
    return tuple((text, float(weight)) for text, weight in pairs)


def _checked_vector(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        vector = tuple(float(x) for x in value)
    except (TypeError, ValueError):
        vector = ()
    if len(vector) != STYLE_VECTOR_LENGTH or not all(math.isfinite(x) for x in vector):
        raise ParameterError("style_vector", "…", f"give {STYLE_VECTOR_LENGTH} finite numbers from Engine.style_vector")
    return vector
