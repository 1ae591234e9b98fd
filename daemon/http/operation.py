"""An operation of the API: where it is, what does it, and what the OpenAPI document says of it. One table for both."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from driftcam.engines.api import ParameterError

Schema = Mapping[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/json"
SESSION: Schema = {"type": "string", "pattern": "^[A-Za-z0-9-]{1,32}$"}


@dataclass(frozen=True)
class Content:
    """What is sent or answered.

    Attributes:
        about: for people.
        schema: JSON schema; None is no content at all.
        media: its type.
    """

    about: str
    schema: Schema | None = None
    media: str = JSON


@dataclass(frozen=True)
class Operation:
    """One method on one path.

    Attributes:
        answers: by status, the good ones and those that are this operation's own.
        query: schemas of the parameters behind the question mark, all optional.
        public: needs no token, also beyond this machine.
        streams: has no end of its own: pictures, events.
        page: a part of the page, not of the API.
    """

    method: str
    path: str
    handler: Handler
    about: str
    answers: Mapping[int, Content] = field(default_factory=dict)
    body: Content | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    public: bool = False
    streams: bool = False
    page: bool = False


class Refused(Exception):
    """Ends a request with `status` and the words for people; `field` is what they are about."""

    def __init__(self, status: int, message: str, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.field, self.retry_after = status, message, field, retry_after

    def answer(self) -> web.Response:
        """As JSON."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        values = {"field": self.field, "message": self.message}
        return web.json_response(values, status=self.status, headers=headers)


def refused(error: ParameterError) -> Refused:
    """A value that cannot be used."""
    return Refused(422, str(error), error.field)


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
