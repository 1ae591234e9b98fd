"""Planes: the named arrays that make up a frame, and those that a person gives for a whole session.

A frame is its `rgb` and, where wanted, planes beside it that share its pts. Each may have a size of its own; it covers
the same view. A condition that reads a plane of its own declares it here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from driftcam.engines.api.errors import ParameterError

Planes = Mapping[str, np.ndarray]
NO_PLANES: Planes = MappingProxyType({})
"""Nothing beside the picture."""
RGB, ALPHA, STYLE_PICTURE = "rgb", "alpha", "style_picture"
MOTION = "motion"
"""Beside a result, for `Parameters.smooth`, from the engine to the daemon alone: `RGB32F`, of any size. How far off
each pixel was in the result before, x and y in pixels of the result, and from 0 to 1 how surely it shows the same
surface. There is none where the scene is another one, or nothing moves."""
MAX_SIDE = 16_384
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class PixelFormat(IntEnum):
    """What a pixel is in memory: `channels` numbers of `dtype`, little-endian, `bytes_per_pixel` in all."""

    channels: int
    dtype: np.dtype[Any]
    bytes_per_pixel: int

    def __new__(cls, number: int, channels: int = 0, dtype: str = "u1") -> PixelFormat:
        """Attributes of the members: looked up many times a frame."""
        member = int.__new__(cls, number)
        member._value_, member.channels, member.dtype = number, channels, np.dtype(dtype)
        member.bytes_per_pixel = channels * member.dtype.itemsize
        return member

    RGB24 = 1, 3, "u1"
    BGRA8 = 2, 4, "u1"
    GRAY8 = 3, 1, "u1"
    GRAY16 = 4, 1, "<u2"
    RGB32F = 5, 3, "<f4"

    def shape(self, width: int, height: int) -> tuple[int, ...]:
        """Of the array of such pixels: (height, width), and channels where there are several."""
        return (height, width) if self.channels == 1 else (height, width, self.channels)


_FORMATS = {(each.channels, each.dtype): each for each in PixelFormat}
PICTURE_FORMATS = (PixelFormat.RGB24, PixelFormat.BGRA8)
"""What the picture of a frame may have; the alpha of the second is the plane `alpha`."""


class Lifetime(StrEnum):
    """How long a plane holds."""

    FRAME = "frame"
    SESSION = "session"


class Scaling(StrEnum):
    """How a plane is brought to another size: averaged, or the nearest pixel where between two there is nothing."""

    AREA = "area"
    NEAREST = "nearest"


@dataclass(frozen=True)
class Plane:
    """What a plane is.

    Attributes:
        name: a small letter, then small letters, digits and `_`; at most 32.
        format: of its pixels.
        about: for people.
        lifetime: of one frame, or of the session: given once, used until it is taken away.
        scaling: how it is brought to another size.
    """

    name: str
    format: PixelFormat
    about: str
    lifetime: Lifetime = Lifetime.FRAME
    scaling: Scaling = Scaling.AREA

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ParameterError("plane", self.name, "give a small letter, then up to 31 small letters, digits and _")
        if self.format is PixelFormat.BGRA8:
            raise ParameterError(self.name, self.format.name, "it is for pictures alone; choose another")

    def check(self, array: object) -> None:
        """Raises `ParameterError` for what is not this plane."""
        wanted = f"give {self.format.dtype.name} of shape {'(H, W)' if self.format.channels == 1 else '(H, W, 3)'}"
        if not isinstance(array, np.ndarray):
            raise ParameterError(self.name, type(array).__name__, wanted)
        if format_of(array) is not self.format:
            raise ParameterError(self.name, f"{array.dtype} of shape {array.shape}", wanted)
        if not all(1 <= side <= MAX_SIDE for side in array.shape[:2]):
            raise ParameterError(self.name, array.shape, f"give sides from 1 to {MAX_SIDE}")

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        values = {"name": self.name, "format": self.format.name, "about": self.about}
        return values | {"lifetime": self.lifetime.value, "scaling": self.scaling.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plane:
        """The inverse of `to_dict`. Raises `ParameterError`."""
        try:
            kind, lifetime = PixelFormat[values["format"]], Lifetime(values["lifetime"])
            return cls(values["name"], kind, str(values["about"]), lifetime, Scaling(values["scaling"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError("plane", str(values), f"it is no description of a plane ({error})") from None


def _frame_plane(name: str, pixel_format: PixelFormat, about: str, scaling: Scaling = Scaling.AREA) -> Plane:
    return Plane(name, pixel_format, about, scaling=scaling)


_known = {
    plane.name: plane
    for plane in (
        _frame_plane(RGB, PixelFormat.RGB24, "the picture"),
        _frame_plane(ALPHA, PixelFormat.GRAY8, "how much of the picture is there, 0 to 255"),
        _frame_plane("mask", PixelFormat.GRAY8, "where to act, 0 to 255"),
        _frame_plane("style_map", PixelFormat.GRAY8, "which of the styles acts, by its number", Scaling.NEAREST),
        _frame_plane("control", PixelFormat.RGB24, "a picture that leads the model, such as edges or a pose"),
        _frame_plane("depth", PixelFormat.GRAY16, "distance, 0 is near", Scaling.NEAREST),
        Plane(STYLE_PICTURE, PixelFormat.RGB24, "a picture whose style is used", Lifetime.SESSION),
    )
}
KNOWN: Mapping[str, Plane] = MappingProxyType(_known)
"""Every plane that this process knows, by name."""


def declare(plane: Plane) -> None:
    """A condition reads a plane of its own. Raises `ParameterError` where the name means another one."""
    if _known.setdefault(plane.name, plane) != plane:
        raise ParameterError("plane", plane.name, "there is another plane of this name; choose another name")


def withdraw(plane: Plane) -> None:
    """The opposite of `declare`."""
    if _known.get(plane.name) == plane:
        del _known[plane.name]


def no_planes() -> Planes:
    """For fields of dataclasses."""
    return NO_PLANES


def planes_json(read: Mapping[str, Plane] | None) -> list[dict[str, Any]]:
    """Every plane, and whether the engine reads it; `read` are those that it says, None before it said any."""
    planes = {plane.name: plane for plane in (*KNOWN.values(), *(read or {}).values())}
    return [plane.to_dict() | {"read": name == RGB or name in (read or {})} for name, plane in planes.items()]


def format_of(array: np.ndarray) -> PixelFormat | None:
    """That an array of pixels has, or None where there is none such."""
    if array.ndim not in (2, 3):
        return None
    channels = array.shape[2] if array.ndim == 3 else 1
    return None if array.ndim == 3 and channels == 1 else _FORMATS.get((channels, array.dtype))
