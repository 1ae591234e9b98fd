"""An operation over HTTP: where it is, what does it, and what the OpenAPI document says of it. One table for both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from driftcam.webrtc.stream import NAME

Schema = Mapping[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/json"
SESSION: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}


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
        headers: names and descriptions of headers of the request, all optional.
        public: needs no token, also beyond this machine.
        cross_origin: pages of other origins may use it, if they have the token (a cookie does not count).
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
    headers: Mapping[str, str] = field(default_factory=dict)
    public: bool = False
    cross_origin: bool = False
    streams: bool = False
    page: bool = False


class Refused(Exception):
    """Ends a request. `str()` is one line for people.

    Attributes:
        status: of the HTTP answer.
        field: what it is about, for programs, or None.
        retry_after: seconds after which another try makes sense, or None.
    """

    def __init__(
        self, status: int, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.retry_after = status, field, retry_after

    def answer(self) -> web.Response:
        """As JSON."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        values = {"field": self.field, "message": str(self)}
        return web.json_response(values, status=self.status, headers=headers)


def route(app: web.Application, operations: Iterable[Operation]) -> None:
    """Let `app` serve them, those for other programs' clients also with a slash behind the path, which people type."""
    for operation in operations:
        app.router.add_route(operation.method, operation.path, operation.handler)
        if operation.cross_origin:
            app.router.add_route(operation.method, operation.path + "/", operation.handler)


def operation_path(canonical: str) -> str:
    """`Operation.path` of what the router matched."""
    return canonical.rstrip("/") or "/"
