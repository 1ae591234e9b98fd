"""Presets: looks that are kept on disk."""

from __future__ import annotations

import asyncio

from aiohttp import web

from driftcam.daemon.changes import parameters_json
from driftcam.daemon.http.context import Context
from driftcam.daemon.http.schemas import ref
from driftcam.daemon.session.presets import STREAM_FIELDS
from driftcam.engines.api import Parameters
from driftcam.engines.api.parameters import TABLE
from driftcam.webrtc.operation import SESSION, Content, Operation, Refused

PATH = "/api/presets/{name}"


def operations(context: Context) -> list[Operation]:
    presets = context.presets

    async def names(request: web.Request) -> web.StreamResponse:
        found, damaged = await asyncio.to_thread(lambda: (presets.names(), presets.damaged()))
        return web.json_response({"names": found, "damaged": damaged})

    async def get(request: web.Request) -> web.StreamResponse:
        values = parameters_json(Parameters.from_dict(await _load(context, request)))
        return web.json_response({name: value for name, value in values.items() if name not in STREAM_FIELDS})

    async def use(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        field, text = TABLE["travel"], request.query.get("travel")
        travel = None if text is None else field.check(field.parse(text))
        await session.control.change(await _load(context, request), travel)
        return web.json_response(context.state(session))

    async def save(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        await asyncio.to_thread(presets.save, request.match_info["name"], session.control.parameters)
        return web.Response(status=204)

    async def delete(request: web.Request) -> web.StreamResponse:
        await _known(context, request)
        await asyncio.to_thread(presets.delete, request.match_info["name"])
        return web.Response(status=204)

    bad = Content("no name of a preset, or its file is damaged", ref("Error"))
    look = Content("its parameters; the size of the picture is not a part of it", {"type": "object"})
    used = {200: Content("the state with the preset in use", ref("State")), 422: bad}
    travel = {**TABLE["travel"].schema(), "description": "seconds on the way to it, instead of the preset's own"}
    done, query = {204: Content("done"), 422: bad}, {"session": SESSION}
    return [
        Operation("GET", "/api/presets", names, "the names", {200: Content("names and damage", ref("Presets"))}),
        Operation("GET", PATH, get, "a preset", {200: look, 422: bad}),
        Operation("POST", PATH, use, "use a preset", used, query={**query, "travel": travel}),
        Operation("PUT", PATH, save, "keep the session's parameters under a name", done, query=query),
        Operation("DELETE", PATH, delete, "delete a preset", done),
    ]


async def _known(context: Context, request: web.Request) -> str:
    """Its name. Raises `ParameterError`, or `Refused` where there is none."""
    name = request.match_info["name"]
    if not await asyncio.to_thread(context.presets.exists, name):
        raise Refused(404, f"preset: there is no {name!r}", field="preset")
    return name


async def _load(context: Context, request: web.Request) -> dict:
    return await asyncio.to_thread(context.presets.load, await _known(context, request))
