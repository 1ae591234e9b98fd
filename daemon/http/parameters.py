"""Changing the parameters; styles, also from a picture."""

from __future__ import annotations

import asyncio

from aiohttp import web

from driftcam.daemon.http.context import Context, no_vector
from driftcam.daemon.http.page import has_picture
from driftcam.daemon.http.query import read_json
from driftcam.daemon.http.schemas import many, ref
from driftcam.daemon.pictures import decode_picture
from driftcam.engines.api.parameters import fields_json
from driftcam.engines.api.planes import STYLE_PICTURE
from driftcam.engines.api.styles import STYLES
from driftcam.webrtc.operation import SESSION, Content, Operation


def operations(context: Context) -> list[Operation]:
    async def change(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        changes = await read_json(request)
        no_vector(changes)
        await session.control.change(changes)
        return web.json_response(context.state(session))

    async def fields(request: web.Request) -> web.StreamResponse:
        return web.json_response(fields_json())

    async def use_picture(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        image = await asyncio.to_thread(decode_picture, await request.read(), "picture")
        await session.control.set_plane(STYLE_PICTURE, image)
        return web.json_response(context.state(session))

    async def styles(request: web.Request) -> web.StreamResponse:
        described = [{"name": name, "about": about, "picture": has_picture(name)} for name, about in STYLES]
        return web.json_response(described)

    state = Content("the state after the change", ref("State"))
    bad = Content("a value that cannot be used; nothing was changed", ref("Error"))
    picture = Content("a JPEG, PNG or WebP of at most 16 MB", {"type": "string", "format": "binary"}, "image/*")
    described = {200: Content("what each is called, takes and starts with", many("Field"))}
    answers, query = {200: state, 422: bad}, {"session": SESSION}
    return [
        Operation(
            "PATCH",
            "/api/parameters",
            change,
            "change some parameters, all at once or not at all",
            answers,
            Content("parameters and their new values", ref("Changes")),
            query,
        ),
        Operation("GET", "/api/parameters/fields", fields, "all parameters that there are", described),
        Operation("PUT", "/api/style-picture", use_picture, "take a picture's style", answers, picture, query),
        Operation("GET", "/api/styles", styles, "the named styles", {200: Content("all of them", many("Style"))}),
    ]
