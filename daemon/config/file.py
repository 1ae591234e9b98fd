"""Reading the configuration: from file, environment and flags to a `Config`, or to words on what is wrong and where."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource, PydanticBaseSettingsSource

from driftcam.daemon.config.config import ENVIRONMENT, Config, fields
from driftcam.daemon.errors import RunError
from driftcam.engines.api import ParameterError

MAX_BYTES = 1024 * 1024
Place = tuple[str, ...]
Flags = Mapping[str, Mapping[str, Any]]

_HEADER = re.compile(r"\s*\[\s*([\w.\s\"'-]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([\w.\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=")


class ConfigError(RunError):
    """What is wrong with a configuration.

    Attributes:
        problems: one line each, naming file and line (or variable, or flag), field and value.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def load(path: Path, environ: Mapping[str, str], flags: Flags | None = None) -> Config:
    """The configuration; a file that is not there counts as empty. Raises `ConfigError`."""
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([f"{path}: {_syntax(error, text)}"]) from None
    given = {section: dict(values) for section, values in (flags or {}).items()}

    class Loaded(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: Any,
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, document)

    try:
        return Loaded(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError([_explain(problem, path, text, environ, given) for problem in error.errors()]) from None
    except ValueError as error:  # pydantic-settings': a variable that should hold JSON and does not
        section = re.search(r'field "(\w+)"', str(error))
        names = f"{ENVIRONMENT}{section[1].upper()}" if section else ENVIRONMENT
        raise ConfigError([f"environment: a variable {names}… cannot be used; give lists and tables as JSON"]) from None


def parse_flag(text: str) -> tuple[str, str, Any]:
    """`SECTION.FIELD=VALUE` to its parts; the value as TOML, or else as text. Raises `ParameterError`."""
    name, equals, value = text.partition("=")
    section, dot, field = name.strip().partition(".")
    if not (equals and dot):
        raise ParameterError("set", text, "write SECTION.FIELD=VALUE, for example server.listen=127.0.0.1:9000")
    try:
        return section, field, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return section, field, value.strip()


def line_of(text: str, place: Place) -> int | None:
    """The line of a TOML text in which the field at `place` is given, or else the table that it is missing from."""
    best: tuple[int, int] | None = None
    for number, path in _named_lines(text):
        length = len(path)
        if path == place[:length] and (best is None or length > best[0]):
            best = length, number
    return best[1] if best else None


def _named_lines(text: str) -> Iterator[tuple[int, Place]]:
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            yield number, table
        elif key := _KEY.match(line):
            yield number, table + _parts(key[1])


def _parts(dotted: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError([f"{path}: it is larger than {MAX_BYTES >> 20} MB"])
        return data.decode()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError([f"{path}: it cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}: line {line}: it is not UTF-8 text"]) from None


def _syntax(error: Exception, text: str) -> str:
    """tomllib ends its message with the place; people look for the line first."""
    message = str(error).removesuffix(" (at end of document)")
    if found := re.search(r"(.*) \(at line (\d+), column (\d+)\)$", message, re.S):
        return f"line {found[2]}, column {found[3]}: {found[1]}"
    return f"line {text.count(chr(10)) + 1}: {message or 'it is nested too deeply'}"


def _explain(problem: Any, path: Path, text: str, environ: Mapping[str, str], flags: Flags) -> str:
    place: Place = tuple(str(part) for part in problem["loc"])
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ParameterError):
        place = place or ("live", "parameters")  # which engine and parameters only say together
        in_table = place[-1] == "parameters" or len(place) == 1
        place = (*place, cause.field) if in_table else place
        reason = f"{cause.value!r} cannot be used; {cause.advice}"
    elif problem["type"] == "extra_forbidden":
        reason = f"there is no such {'field' if len(place) > 1 else 'section'}; {_nearest(place)}"
    else:
        message = str(cause) if cause is not None else problem["msg"][:1].lower() + problem["msg"][1:]
        reason = message if isinstance(problem["input"], dict) else f"{problem['input']!r} cannot be used; {message}"
    return f"{_where(place, path, text, environ, flags)}: {'.'.join(place)}: {reason}"


def _where(place: Place, path: Path, text: str, environ: Mapping[str, str], flags: Flags) -> str:
    """Who gave the value."""
    if place[0] in flags and (len(place) < 2 or place[1] in flags[place[0]]):
        return "flag"
    names = [ENVIRONMENT + "__".join(place[:depth]).upper() for depth in range(len(place), 0, -1)]
    for name in environ:
        if name.upper() in names:
            return name
    line = line_of(text, place)
    return f"{path}: line {line}" if line else str(path)


def _nearest(place: Place) -> str:
    names = list(fields()) if len(place) == 1 else list(fields().get(place[0], ()))
    close = difflib.get_close_matches(place[-1], names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from: {', '.join(names)}"
