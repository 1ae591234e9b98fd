"""The live parameters of one stream: the one table of what there is, and typed, immutable, checked values.

Everything that offers, describes or checks a parameter reads `TABLE`: the API and its document, the flags of the
commands, the page, OBS, the engine. A range or a default stands here and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from driftcam.engines.api.anchors import ANCHOR_LENGTH, MAX_ANCHORS
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import (
    CHECKPOINT,
    EMBEDDED,
    Choice,
    Field,
    Integer,
    Number,
    Pairs,
    Prompts,
    Styles,
    Text,
    Vector,
    Vectors,
    nearest,
)

SIZE_RANGE = (64, 1024)
STYLE_VECTOR_LENGTH = 100
MAX_PROMPTS, MAX_PROMPT = 8, 1000  # texts, and letters of one
GUIDANCE_MODES = {"none": "none", "full": "full", "self": "self", "initialize": "initialize"}
NOISE_MODES = {
    "warped": "drifts with the picture",
    "fixed": "stays on the screen",
    "independent": "new in each frame",
}
SMOOTH = {"off": "off", "30": "30 pictures a second", "60": "60 pictures a second"}
FITS = {"cover": "cut off what is over", "contain": "with borders", "stretch": "stretched"}


def _side(name: str, label: str) -> Integer:
    low, high = SIZE_RANGE
    about = "of the model's picture"
    return Integer(name, label, "More", about, default=384, low=low, high=high, step=8, unit="px")


def row(field: Field) -> Any:
    """An attribute of `Parameters` that is declared by `field`."""
    return dataclasses.field(default=field.default, metadata={"field": field})


@dataclass(frozen=True)
class Parameters:
    """Everything that can be changed while a stream runs. Construction raises `ParameterError`.

    Attributes:
        extras: values, other than the default, of fields that were declared elsewhere (`declare`). Each is an
            attribute like the others, too.
    """

    styles: Pairs = row(  # noqa: RUF009 (a tuple)
        Styles(
            "styles",
            "Style",
            "Style",
            "named styles and their weights; a checkpoint without prompts reads their names",
            default=(("autumn-oil", 1.0),),
        )
    )
    prompts: Pairs = row(  # noqa: RUF009 (a tuple)
        Prompts(
            "prompts",
            "In words",
            "Style",
            "texts and their weights for a checkpoint; the embedded model is led by the styles that words resolve to",
            default=(),
            most=MAX_PROMPTS,
            longest=MAX_PROMPT,
        )
    )
    negative_prompt: str = row(
        Text(
            "negative_prompt",
            "Not this",
            "Style",
            "what a checkpoint keeps away from; acts where guidance does",
            default="",
            longest=MAX_PROMPT,
            models=(CHECKPOINT,),
        )
    )
    style_vector: tuple[float, ...] | None = row(
        Vector(
            "style_vector",
            "Style of a picture",
            "Style",
            "the style of a picture, as Engine.set_plane makes it of a style_picture",
            default=None,
            length=STYLE_VECTOR_LENGTH,
            models=(EMBEDDED,),
        )
    )
    style_image_weight: float = row(
        Number(
            "style_image_weight",
            "Its share",
            "Style",
            "share of the picture's style in the blend with the named ones",
            default=1.0,
            models=(EMBEDDED,),
            modulates=True,
        )
    )
    strength: float = row(
        Number(
            "strength",
            "Strength",
            "Look",
            "share of the noise schedule that is run: 0 gives back the input, 1 starts from noise",
            default=0.8,
            modulates=True,
        )
    )
    freedom: float = row(
        Number(
            "freedom",
            "Freedom",
            "Look",
            "how much of the photograph is hidden from the model: 0 steady, 1 free texture",
            default=0.1,
            models=(EMBEDDED,),
            modulates=True,
        )
    )
    memory: float = row(
        Number(
            "memory",
            "Memory",
            "Look",
            "how long strokes stay on what they are painted on: 0 paints every frame anew",
            default=0.95,
            modulates=True,
        )
    )
    anchors: tuple[tuple[float, ...], ...] = row(
        Vectors(
            "anchors",
            "Kept looks",
            "Look",
            "approved pictures whose palette and strokes hold for the whole stream",
            default=(),
            most=MAX_ANCHORS,
            length=ANCHOR_LENGTH,
        )
    )
    anchor_strength: float = row(
        Number(
            "anchor_strength",
            "Hold looks",
            "Look",
            "how far kept looks hold palette and strokes, whatever the scene: 0 not at all",
            default=0.9,
        )
    )
    steps: int = row(Integer("steps", "Steps", "Look", "denoising steps", default=1, low=1, high=8))
    travel: float = row(
        Number(
            "travel",
            "Travel",
            "Look",
            "how long a change of style, prompt, strength or freedom takes; 0 is at once",
            default=0.0,
            high=60.0,
            step=0.1,
            unit="s",
        )
    )
    guidance: str = row(
        Choice(
            "guidance",
            "Guidance",
            "More",
            "what the picture is led away from (StreamDiffusion, arXiv 2312.12491)",
            default="none",
            choices=GUIDANCE_MODES,
        )
    )
    guidance_scale: float = row(
        Number(
            "guidance_scale",
            "Guidance scale",
            "More",
            "how strongly guidance leads; it acts above 1",
            default=1.0,
            high=20.0,
            step=0.1,
        )
    )
    delta: float = row(
        Number(
            "delta",
            "Guidance delta",
            "More",
            "weight of the residual noise in the guidance modes self and initialize",
            default=1.0,
            high=2.0,
        )
    )
    noise: str = row(
        Choice(
            "noise",
            "Texture",
            "More",
            "what the noise that a picture is painted from follows",
            default="warped",
            choices=NOISE_MODES,
        )
    )
    refresh: float = row(
        Number("refresh", "Refresh", "More", "share of fresh noise mixed into the warped field per frame", default=0.0)
    )
    degradation: float = row(
        Number(
            "degradation",
            "Degradation",
            "More",
            "γ of Go-with-the-Flow (arXiv 2501.08331): 0 keeps the warped noise, 1 is independent noise",
            default=0.0,
        )
    )
    similarity_threshold: float = row(
        Number(
            "similarity_threshold",
            "Skip still frames",
            "More",
            "frames this similar to the one before are skipped: 0 never, .98 near-still ones",
            default=0.0,
        )
    )
    max_skip: int = row(
        Integer(
            "max_skip",
            "Most skipped",
            "More",
            "most frames in a row that may be skipped as still",
            default=10,
            high=10_000,
            unit="frames",
        )
    )
    fit: str = row(
        Choice(
            "fit",
            "Fit",
            "More",
            "how a picture of another shape becomes the model's",
            default="cover",
            choices=FITS,
        )
    )
    smooth: str = row(
        Choice(
            "smooth",
            "Smooth motion",
            "More",
            "pictures between those of the engine, made along what moves; they come about a frame of the engine later",
            default="off",
            choices=SMOOTH,
        )
    )
    width: int = row(_side("width", "Width"))
    height: int = row(_side("height", "Height"))
    seed: int = row(
        Integer("seed", "Seed", "More", "start of every random draw of the stream", default=0, high=2**63 - 1)
    )
    extras: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for field in _OWN.values():
            set_(self, field.name, field.check(getattr(self, field.name)))
        set_(self, "extras", _checked_extras(dict(self.extras)))

    if not TYPE_CHECKING:  # for fields declared elsewhere; those of the class are known to a type checker

        def __getattr__(self, name: str) -> Any:
            if name not in TABLE:
                raise AttributeError(f"Parameters has no {name!r}")
            return dict(self.extras).get(name, TABLE[name].default)

    def replace(self, **changes: Any) -> Parameters:
        """A changed copy. Raises `ParameterError` naming the field; `self` stays as it was."""
        for name in changes:
            if name not in TABLE:
                raise ParameterError(name, changes[name], f"there is no such parameter; {nearest(name, TABLE)}")
        extras = {name: changes.pop(name) for name in list(changes) if name not in _OWN}
        if extras:
            changes["extras"] = tuple({**dict(self.extras), **extras}.items())
        return dataclasses.replace(self, **changes)

    def check_model(self, model: str) -> None:
        """Raises `ParameterError` for what `model`, one of `MODELS`, cannot do."""
        for field in TABLE.values():
            field.check_model(getattr(self, field.name), model)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in TABLE}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Parameters:
        """The inverse of `to_dict`; missing fields take their defaults."""
        return cls().replace(**values)


_OWN: dict[str, Field] = {
    each.name: each.metadata["field"] for each in dataclasses.fields(Parameters) if "field" in each.metadata
}
TABLE: dict[str, Field] = dict(_OWN)
"""Every parameter by its name: those of `Parameters` and those that were declared elsewhere."""


def declare(field: Field) -> Callable[[], None]:
    """Add the parameter of a condition that lives elsewhere, in every process that is to know it.

    Returns what takes it away again. Raises `ValueError` for a name that another field has.
    """
    if (known := TABLE.get(field.name)) not in (None, field):
        raise ValueError(f"there is a parameter {field.name!r} already: {known}")
    TABLE[field.name] = field

    def take_away() -> None:
        TABLE.pop(field.name, None)

    return take_away


def changed(before: Parameters, after: Parameters) -> set[str]:
    """Names of the parameters that differ."""
    return {name for name in TABLE if getattr(before, name) != getattr(after, name)}


def fields_json() -> list[dict[str, Any]]:
    """The table for other programs."""
    return [field.to_dict() for field in TABLE.values()]


def _checked_extras(extras: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Only what differs from the default, so that equal parameters compare equal."""
    checked = {name: TABLE[name].check(value) for name, value in extras.items()}
    return tuple((name, value) for name, value in sorted(checked.items()) if value != TABLE[name].default)
