"""Recordings that are started and stopped while the stream runs."""

from __future__ import annotations

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.schemas import ref
from driftcam.webrtc.operation import SESSION, Content, Operation

PATH = "/api/recording"


def operations(context: Context) -> list[Operation]:
    async def get(request: web.Request) -> web.StreamResponse:
        return web.json_response(context.recordings.status(context.session(request)))

    async def start(request: web.Request) -> web.StreamResponse:
        return web.json_response(await context.recordings.start(context.session(request)), status=201)

    async def stop(request: web.Request) -> web.StreamResponse:
        return web.json_response(await context.recordings.stop(context.session(request)))

    status = Content("the file and how long it is so far", ref("Recording"))
    none = Content("the running recording, or null", {"oneOf": [ref("Recording"), {"type": "null"}]})
    conflict, query = Content("it does not fit what is going on", ref("Error")), {"session": SESSION}
    return [
        Operation("GET", PATH, get, "the running recording", {200: none}, query=query),
        Operation("POST", PATH, start, "start to record", {201: status, 409: conflict}, query=query),
        Operation("DELETE", PATH, stop, "stop; the file is complete then", {200: status, 409: conflict}, query=query),
    ]
