"""The words after --source, --sink, --size and --listen. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from driftcam.engines.api import ParameterError

SOURCES = {
    "clip": "clip:PATH",
    "url": "url:ADDRESS",
    "webcam": "webcam[:N][?size=WxH&fps=F&format=MJPG]",
    "screen": "screen[:N][?area=WxH+X+Y&fps=F]",
    "test": "test",
}
SINKS = {"file": "file:PATH", "page": "page", "virtualcam": "virtualcam[:DEVICE][?size=WxH&fps=F]"}
OPTIONS = {"webcam": ("size", "fps", "format"), "screen": ("area", "fps"), "virtualcam": ("size", "fps")}
URL_SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "rtp", "srt", "tcp")


@dataclass(frozen=True)
class Spec:
    """`kind`, `kind:argument`, either with `?name=value&…` for devices."""

    kind: str
    argument: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """As people see it: without the name and password of an address."""
        return without_login(str(self))

    def __str__(self) -> str:
        text = f"{self.kind}:{self.argument}" if self.argument else self.kind
        return text + (
            "?" + "&".join(f"{name}={value}" for name, value in self.options.items()) if self.options else ""
        )


def without_login(address: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", address)


def parse_source(text: str) -> Spec:
    """`clip:PATH`, `url:ADDRESS`, `webcam[:N]`, `screen[:N]` or `test`. Raises `ParameterError`."""
    spec = _parse("source", text, SOURCES)
    if spec.kind == "clip" and not spec.argument:
        raise ParameterError("source", text, "write clip:PATH")
    if spec.kind == "url" and not re.fullmatch(rf"(?:{'|'.join(URL_SCHEMES)})://[^\s/]\S*", spec.argument):
        raise ParameterError("source", text, f"write url: and an address with {', '.join(URL_SCHEMES)}")
    if spec.kind == "webcam" and not re.fullmatch(_DEVICE, spec.argument):
        raise ParameterError("source", text, "write webcam or webcam:N, N being the number in /dev/videoN")
    if spec.kind == "screen" and not re.fullmatch(r"\d{0,2}", spec.argument):
        raise ParameterError("source", text, "write screen for everything, or screen:N for the Nth monitor")
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
    if spec.kind == "virtualcam" and not re.fullmatch(_DEVICE, spec.argument):
        raise ParameterError("sink", text, "write virtualcam or virtualcam:/dev/videoN")
    if spec.kind == "virtualcam" and any(side % 2 for side in size_option(spec) or ()):
        raise ParameterError("sink", text, "give an even width and height: colours are sent for two pixels at a time")
    return spec


_DEVICE = r"(?:/dev/video)?\d{0,4}"


def device_number(argument: str) -> int | None:
    """N of `N` or `/dev/videoN`, None where nothing was given."""
    digits = argument.removeprefix("/dev/video")
    return int(digits) if digits else None


def size_option(spec: Spec) -> tuple[int, int] | None:
    """`size=WxH` of a device, (width, height) in pixels."""
    text = spec.options.get("size")
    return parse_size(text) if text else None


def fps_option(spec: Spec) -> float | None:
    """`fps=F` of a device."""
    text = spec.options.get("fps")
    return float(text) if text else None


def area_option(spec: Spec) -> tuple[int, int, int, int] | None:
    """`area=WxH+X+Y` of a screen: (width, height, x, y) in pixels."""
    match = re.fullmatch(_CHECKS["area"][0], spec.options.get("area", ""))
    return (int(match[1]), int(match[2]), int(match[3]), int(match[4])) if match else None


_CHECKS = {  # what an option looks like, and what to write
    "size": (r"\d{2,5}x\d{2,5}", "size=WIDTHxHEIGHT in pixels, for example size=1280x720"),
    "fps": (r"(?!0+(?:\.0+)?$)\d{1,3}(?:\.\d+)?", "fps=FRAMES_A_SECOND, for example fps=30"),
    "format": (r"[A-Z0-9]{4}", "format= and four letters, for example format=MJPG"),
    "area": (r"(\d{2,5})x(\d{2,5})\+(\d{1,5})\+(\d{1,5})", "area=WIDTHxHEIGHT+X+Y in pixels"),
}


def parse_size(text: str) -> tuple[int, int]:
    """`N` or `WxH` to (width, height). Raises `ParameterError`; the range is for `Parameters` to check."""
    if match := re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip().lower()):
        width = int(match[1])
        return width, int(match[2] or width)
    raise ParameterError("size", text, "write N or WIDTHxHEIGHT in pixels, for example 384 or 512x288")


def parse_model_size(text: str) -> tuple[int, int] | None:
    """As `parse_size`; None for `auto`, or nothing. Raises `ParameterError`."""
    if text.strip().lower() in ("", "auto"):
        return None
    try:
        return parse_size(text)
    except ParameterError as error:
        raise ParameterError("size", text, f"{error.advice}, or auto") from None


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
    kind, argument, options = _split(text)
    if kind not in forms:
        close = difflib.get_close_matches(kind, forms, n=1)
        raise ParameterError(field, text, f"write {forms[close[0]] if close else ' or '.join(forms.values())}")
    for name, value in options.items():
        pattern, words = _CHECKS.get(name, ("", ""))
        if name not in OPTIONS[kind]:
            raise ParameterError(field, text, f"{kind} has no option {name!r}; write {forms[kind]}")
        if not re.fullmatch(pattern, value):
            raise ParameterError(field, text, f"write {words}")
    return Spec(kind, argument, options)


def _split(text: str) -> tuple[str, str, dict[str, str]]:
    """Kind, argument and options; paths and addresses may hold question marks of their own."""
    kind, _, argument = text.partition(":")
    bare = kind.partition("?")[0]
    if bare not in OPTIONS:
        return kind, argument, {}
    text, _, options = text.partition("?")
    pairs = (pair.partition("=") for pair in options.split("&") if pair)
    return bare, text.partition(":")[2], {name: value for name, _, value in pairs}
