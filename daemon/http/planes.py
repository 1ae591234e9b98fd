"""Planes that hold for a whole session: pictures that a person gives beside the frames."""

from __future__ import annotations

import asyncio

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.schemas import many, ref
from driftcam.daemon.pictures import decode_plane, session_plane
from driftcam.engines.api.planes import planes_json
from driftcam.webrtc.operation import SESSION, Content, Operation

PATH = "/api/planes/{name}"


def operations(context: Context) -> list[Operation]:
    async def get(request: web.Request) -> web.StreamResponse:
        return web.json_response(planes_json(context.session(request).planes))

    async def give(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        plane = session_plane(request.match_info["name"], session.planes)
        picture = await asyncio.to_thread(decode_plane, await request.read(), plane, "picture")
        await session.control.set_plane(plane.name, picture)
        return web.json_response(context.state(session))

    async def take_away(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        await session.control.set_plane(session_plane(request.match_info["name"], session.planes).name, None)
        return web.json_response(context.state(session))

    state = Content("the state after the change", ref("State"))
    bad = Content("no such plane, no picture, or nobody reads it; nothing was changed", ref("Error"))
    picture = Content("a JPEG, PNG or WebP of at most 16 MB", {"type": "string", "format": "binary"}, "image/*")
    answers, query = {200: state, 422: bad}, {"session": SESSION}
    planes = Content("all of them", many("Plane"))
    return [
        Operation(
            "GET",
            "/api/planes",
            get,
            "what there is beside the picture",
            {200: planes},
            query=query,
        ),
        Operation("PUT", PATH, give, "use a picture as a plane until it is taken away", answers, picture, query),
        Operation("DELETE", PATH, take_away, "take a plane away", answers, query=query),
    ]
