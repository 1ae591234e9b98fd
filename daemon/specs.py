"""The words after --source, --sink, --size and --listen. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass

from engines.api import ParameterError

SOURCES = {"clip": "clip:PATH", "webcam": "webcam[:N]", "test": "test"}
SINKS = {"file": "file:PATH", "page": "page", "virtualcam": "virtualcam[:DEVICE]"}


@dataclass(frozen=True)
class Spec:
    """`kind` or `kind:argument`."""

    kind: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind


def parse_source(text: str) -> Spec:
    """`clip:PATH`, `webcam[:N]` or `test`. Raises `ParameterError`."""
    spec = _parse("source", text, SOURCES)
    if spec.kind == "clip" and not spec.argument:
        raise ParameterError("source", text, "write clip:PATH")
    if spec.kind == "webcam" and not re.fullmatch(r"(?:/dev/video)?\d{0,4}", spec.argument):
        raise ParameterError("source", text, "write webcam or webcam:N, N being the number in /dev/videoN")
    if spec.kind == "test" and spec.argument:
        raise ParameterError("source", text, "write test, without more")
    return spec


def parse_sink(text: str) -> Spec:
    """`file:PATH`, `page` or `virtualcam[:DEVICE]`. Raises `ParameterError`."""
    spec = _parse("sink", text, SINKS)
    if spec.kind == "file" and not spec.argument.lower().endswith(".mp4"):
        raise ParameterError("sink", text, "write file:PATH with a name that ends in .mp4")
    if spec.kind == "page" and spec.argument:
        raise ParameterError("sink", text, "write page; the address is given with --listen HOST:PORT")
    if spec.kind == "virtualcam" and not re.fullmatch(r"(?:/dev/video)?\d{0,4}", spec.argument):
        raise ParameterError("sink", text, "write virtualcam or virtualcam:/dev/videoN")
    return spec


def device_number(argument: str) -> int | None:
    """N of `N` or `/dev/videoN`, None where nothing was given."""
    digits = argument.removeprefix("/dev/video")
    return int(digits) if digits else None


def parse_size(text: str) -> tuple[int, int]:
    """`N` or `WxH` to (width, height). Raises `ParameterError`; the range is for `Parameters` to check."""
    if match := re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip().lower()):
        width = int(match[1])
        return width, int(match[2] or width)
    raise ParameterError("size", text, "write N or WIDTHxHEIGHT in pixels, for example 384 or 512x288")


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT` to (host, port). Raises `ParameterError` for anything but this machine itself."""
    host, port = parse_address(text)
    if not is_loopback(host):
        advice = (
            "the page of driftcam run is only served to this machine: use 127.0.0.1, ::1 or localhost"
            " (driftcam serve listens elsewhere, with a token)"
        )
        raise ParameterError("listen", text, advice)
    return host, port


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[HOST]:PORT` to (host, port), whatever the host. Raises `ParameterError`."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ParameterError("listen", text, "write HOST:PORT, for example 127.0.0.1:8900")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine itself, without asking a name server."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parse(field: str, text: str, forms: dict[str, str]) -> Spec:
    kind, _, argument = text.partition(":")
    if kind not in forms:
        close = difflib.get_close_matches(kind, forms, n=1)
        raise ParameterError(field, text, f"write {forms[close[0]] if close else ' or '.join(forms.values())}")
    return Spec(kind, argument)
