"""Flags for the live parameters, made from their table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterable
from typing import Any

from driftcam.engines.api import TABLE
from driftcam.engines.api.fields import Field

SPELLED = {"styles": "style", "prompts": "prompt"}  # where people would type something else than the name


def add_flags(parser: argparse.ArgumentParser, *, without: Collection[str] = ()) -> None:
    """One for each parameter that a person may type; `without`: for which the command has a flag of its own."""
    words = parser.add_mutually_exclusive_group()
    for field in TABLE.values():
        if not field.typed or field.name in without:
            continue
        add_flag(words if field.name in SPELLED else parser, field.name)


def add_flag(parser: argparse._ActionsContainer, name: str) -> None:
    """That of one parameter."""
    add_field(parser, TABLE[name])


def add_field(parser: argparse._ActionsContainer, field: Field) -> None:
    """That of a field, of the table or another one."""
    option = SPELLED.get(field.name, field.name).replace("_", "-")
    parser.add_argument(f"--{option}", dest=_place(field), metavar=field.example, help=_help(field))


def given(options: argparse.Namespace, fields: Iterable[Field] | None = None) -> dict[str, Any]:
    """The flags that were given, as changes that `PATCH /api/parameters` takes. Raises `ParameterError`.

    `fields`: others than those of the table.
    """
    changes: dict[str, Any] = {}
    for field in TABLE.values() if fields is None else fields:
        text = getattr(options, _place(field), None)
        if text is None:
            continue
        if field.kind == "prompts":
            changes["prompt"] = text  # with the styles that its words resolve to
        else:
            changes[field.name] = field.parse(text)
    return changes


def parse_value(name: str, text: str) -> Any:
    """What stands behind `NAME=`: JSON, or as after the flag of that name. Raises `ParameterError`."""
    field = TABLE.get(name)
    if field is not None and field.kind == "text":
        return text
    try:
        return json.loads(text)
    except ValueError:
        text = text.strip()
        return text if field is None else field.parse(text)


def _place(field: Field) -> str:
    return f"parameter {field.name}"


def _help(field: Field) -> str:
    default = f"{field.default:g} {field.unit}" if isinstance(field.default, (int, float)) else ""
    return (f"{field.about} ({default.strip()})" if default else field.about).replace("%", "%%")
