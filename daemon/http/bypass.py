"""The switch for the untouched picture."""

from __future__ import annotations

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.query import read_json
from driftcam.daemon.http.schemas import ref
from driftcam.engines.api import ParameterError
from driftcam.webrtc.operation import SESSION, Content, Operation

PATH = "/api/bypass"


def operations(context: Context) -> list[Operation]:
    async def switch(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        session.bypass(_on(await read_json(request)))
        return web.json_response(context.state(session))

    async def toggle(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        session.bypass(not session.bypassed)
        return web.json_response(context.state(session))

    state = Content("the state after that", ref("State"))
    bad = Content("neither true nor false; nothing was changed", ref("Error"))
    on = {"type": "object", "required": ["on"], "properties": {"on": {"type": "boolean"}}}
    about, query = "show the untouched picture, or fade back", {"session": SESSION}
    return [
        Operation("PUT", PATH, switch, about, {200: state, 422: bad}, Content("what to show", on), query),
        Operation("POST", PATH, toggle, "the other of the two", {200: state}, query=query),
    ]


def _on(body: object) -> bool:
    """Raises `ParameterError`."""
    on = body.get("on") if isinstance(body, dict) else None
    if not isinstance(on, bool):
        raise ParameterError("on", on, 'send {"on": true} for the untouched picture, or false')
    return on
