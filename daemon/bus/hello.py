"""What a bus client says of itself, and what it is told: the JSON of HELLO, WELCOME, EVENT and ERROR. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from driftcam.daemon.changes import changed
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.sessions import DEFAULT, checked_name
from driftcam.daemon.session.state import state
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import MAX_JSON, MAX_NAME, SLOTS, json_bytes
from driftcam.engines.api.parameters import fields_json
from driftcam.engines.api.planes import ALPHA, PICTURE_FORMATS, PixelFormat
from driftcam.engines.api.styles import STYLE_NAMES

MOST_WIDTH, MOST_HEIGHT = 3840, 2160
SLOT_BYTES = MOST_WIDTH * MOST_HEIGHT * 12  # a picture and planes beside it; taken only as far as it is written


class Role(StrEnum):
    """What a client does with frames."""

    SOURCE = "source"
    SINK = "sink"
    FILTER = "filter"

    @property
    def gives(self) -> bool:
        return self is not Role.SINK

    @property
    def takes(self) -> bool:
        return self is not Role.SOURCE


@dataclass(frozen=True)
class Hello:
    """A checked HELLO.

    Attributes:
        size: (width, height) of the pictures a sink wants, or None for the model's.
        alpha: results are to have the alpha of their frames.
        parameters: of a session that this client opens.
        own_size: the client gave the size of the model's picture.
    """

    role: Role
    session: str
    name: str
    pixel_format: PixelFormat
    size: tuple[int, int] | None
    alpha: bool
    parameters: Parameters
    own_size: bool = False


def parse_hello(body: Mapping[str, Any], defaults: Parameters) -> Hello:
    """Raises `ParameterError` naming the field."""
    roles, formats = [str(role) for role in Role], [kind.name for kind in PICTURE_FORMATS]
    role, pixel_format = body.get("role"), body.get("format", PixelFormat.RGB24.name)
    if role not in roles:
        raise ParameterError("role", role, f"choose from: {', '.join(roles)}")
    if pixel_format not in formats:
        raise ParameterError("format", pixel_format, f"choose from: {', '.join(formats)}")
    name = body.get("name", role)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ParameterError("name", name, f"give at most {MAX_NAME} characters")
    planes = body.get("planes", [])
    if planes not in ([], [ALPHA]):
        raise ParameterError("planes", planes, f"results have no further plane but {ALPHA}; give a list of it, or none")
    session = checked_name(body.get("session", DEFAULT))
    changes = body.get("parameters")
    parameters = changed(defaults, changes) if changes else defaults
    own_size = isinstance(changes, dict) and not changes.keys().isdisjoint({"width", "height"})
    how = PixelFormat[pixel_format]
    return Hello(Role(role), session, name, how, _size(body), bool(planes), parameters, own_size)


def _size(body: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = []
    for field, most in (("width", MOST_WIDTH), ("height", MOST_HEIGHT)):
        side = body.get(field, 0)
        if isinstance(side, bool) or not isinstance(side, int) or not 0 <= side <= most:
            raise ParameterError(field, side, f"give a whole number up to {most}, or 0 for the model's")
        sides.append(side)
    return (sides[0], sides[1]) if all(sides) else None


def welcome(session: Session, hello: Hello) -> dict[str, Any]:
    """JSON of WELCOME."""
    parameters = session.control.parameters
    return {
        "slots": SLOTS,
        "slot_bytes": SLOT_BYTES,
        "session": session.name,
        "width": parameters.width,
        "height": parameters.height,
        "format": hello.pixel_format.name,
        "server": server(),
    }


def event(session: Session, notice: str, page: str) -> dict[str, Any]:
    """JSON of EVENT, and of what answers a request."""
    parameters, told = session.control.parameters, state(session)
    size = {"width": parameters.width, "height": parameters.height}
    return {**told, **size, "notice": told["reason"] or notice, "page": page}


def report(event: dict[str, Any], presets: Sequence[str]) -> dict[str, Any]:
    """JSON of what answers a REPORT: that of EVENT and what can be chosen, with as many presets as fit."""
    told: dict[str, Any] = {**event, "styles": list(STYLE_NAMES), "fields": fields_json(), "presets": []}
    room = MAX_JSON - len(json_bytes(told))
    for name in presets:
        room -= len(json_bytes(name)) + 1
        if room < 0:
            break
        told["presets"].append(name)
    return told


def server() -> str:
    """Name and version of this program."""
    try:
        return f"driftcam {version('driftcam')}"
    except PackageNotFoundError:
        return "driftcam"
