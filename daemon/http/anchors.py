"""Kept looks: pictures whose palette and strokes hold for the whole stream."""

from __future__ import annotations

import asyncio

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.schemas import many, ref
from driftcam.daemon.pictures import decode_picture
from driftcam.daemon.session.session import Session
from driftcam.engines.api import ParameterError
from driftcam.engines.api.anchors import swatches
from driftcam.webrtc.operation import SESSION, Content, Operation, Refused

PATH, ONE = "/api/anchors", "/api/anchors/{number}"


def operations(context: Context) -> list[Operation]:
    async def get(request: web.Request) -> web.StreamResponse:
        return web.json_response(_described(context.session(request)))

    async def keep(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        if data := await request.read():
            picture = await asyncio.to_thread(decode_picture, data, "picture", "anchors")
        elif session.bypassed:
            raise Refused(409, "anchors: the untouched picture is shown; end the bypass first", field="anchors")
        else:
            picture = (await context.newest(session, "anchors")).image
        await session.anchors.keep(picture)
        return web.json_response(context.state(session))

    async def drop(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        await session.anchors.drop(_number(request))
        return web.json_response(context.state(session))

    async def clear(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        await session.anchors.clear()
        return web.json_response(context.state(session))

    async def picture(request: web.Request) -> web.StreamResponse:
        anchors = context.session(request).anchors
        data = anchors.picture(anchors.anchor(_number(request)))
        if data is None:
            raise Refused(404, "anchor: its look came from elsewhere, and there is no picture of it", field="anchor")
        return web.Response(body=data, content_type="image/jpeg")

    query = {"session": SESSION}
    state = Content("the state after that", ref("State"))
    bad = Content("no such look, no picture, or as many as there may be; nothing was changed", ref("Error"))
    shown = Content("a JPEG, PNG or WebP of at most 16 MB instead of the picture that is shown now",
                    {"type": "string", "format": "binary"}, "image/*")  # fmt: skip
    kept = Content("in the order in which they were kept", many("Anchor"))
    jpeg = Content("small", {"type": "string", "contentMediaType": "image/jpeg"}, "image/jpeg")
    return [
        Operation("GET", PATH, get, "the looks that are held", {200: kept}, query=query),
        Operation(
            "POST", PATH, keep, "hold the look of the picture that is shown", {200: state, 422: bad}, shown, query
        ),
        Operation("DELETE", PATH, clear, "hold none any more", {200: state}, query=query),
        Operation("GET", f"{ONE}/picture", picture, "the picture of a look", {200: jpeg, 422: bad}, query=query),
        Operation("DELETE", ONE, drop, "hold one no more", {200: state, 422: bad}, query=query),
    ]


def _described(session: Session) -> list[dict[str, object]]:
    return [
        {"number": number, "picture": session.anchors.picture(anchor) is not None, "colours": swatches(anchor)}
        for number, anchor in enumerate(session.anchors.all)
    ]


def _number(request: web.Request) -> int:
    """Raises `ParameterError`."""
    text = request.match_info["number"]
    if not text.isascii() or not text.isdigit() or len(text) > 3:
        raise ParameterError("anchor", text, "give the number of a kept look, from 0")
    return int(text)
