"""What handlers of the API share: reading what a request says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from driftcam.engines.api import ParameterError
from driftcam.webrtc.operation import Refused


def refused(error: ParameterError) -> Refused:
    """A value that cannot be used."""
    return Refused(422, str(error), field=error.field)


async def read_json(request: web.Request) -> Any:
    """Raises `ParameterError`."""
    try:
        return json.loads(await request.text())
    except (ValueError, RecursionError, LookupError):  # the last: a charset that nobody knows
        raise ParameterError("body", "…", "send JSON") from None


def query_choice(request: web.Request, name: str, choices: Mapping[str, Any] | tuple[str, ...], otherwise: str) -> str:
    """Raises `ParameterError`."""
    value = request.query.get(name, otherwise)
    if value not in choices:
        raise ParameterError(name, value, f"choose from: {', '.join(choices)}")
    return value


def query_number(request: web.Request, name: str, low: int, high: int, otherwise: int) -> int:
    """A whole number. Raises `ParameterError`."""
    value = request.query.get(name, str(otherwise))
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and low <= int(value) <= high):
        raise ParameterError(name, value, f"give a whole number from {low} to {high}")
    return int(value)
