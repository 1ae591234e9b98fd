"""Parameters that follow time, sound or motion."""

from __future__ import annotations

import time

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.query import read_json
from driftcam.daemon.http.schemas import ref
from driftcam.daemon.modulation.settings import BPM, FIELDS
from driftcam.engines.api.shift import STYLE, targets
from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.webrtc.operation import SESSION, Content, Operation

PATH = "/api/modulation"


def operations(context: Context) -> list[Operation]:
    async def get(request: web.Request) -> web.StreamResponse:
        return web.json_response(context.session(request).modulation.settings.to_dict())

    async def change(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        session.modulation.change(await read_json(request))
        session.control.announce()
        return web.json_response(context.state(session))

    async def beat(request: web.Request) -> web.StreamResponse:
        context.session(request).modulation.beat(time.monotonic_ns())
        return web.Response(status=204)

    async def fields(request: web.Request) -> web.StreamResponse:
        moved = [*targets(), *(STYLE + name for name in STYLE_NAMES)]
        described = [field.to_dict() for field in FIELDS.values()]
        return web.json_response({"targets": moved, "bpm": BPM.to_dict(), "fields": described})

    query, document = {"session": SESSION}, Content("what follows what", ref("Modulation"))
    state = Content("the state after the change", ref("State"))
    bad = Content("a value that cannot be used; nothing was changed", ref("Error"))
    described = {200: Content("what can follow, and how", ref("ModulationFields"))}
    return [
        Operation("GET", PATH, get, "the modulation of a session", {200: document}, query=query),
        Operation("PATCH", PATH, change, "change some of it", {200: state, 422: bad}, document, query),
        Operation("POST", f"{PATH}/beat", beat, "a beat falls now", {204: Content("done")}, query=query),
        Operation("GET", f"{PATH}/fields", fields, "what can follow, and how", described),
    ]
