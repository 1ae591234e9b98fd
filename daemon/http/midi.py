"""MIDI controllers at the daemon's machine."""

from __future__ import annotations

from aiohttp import web

from driftcam.daemon.http.context import Context, Midi
from driftcam.daemon.http.query import read_json
from driftcam.daemon.http.schemas import ref
from driftcam.daemon.midi_message import parse_control
from driftcam.engines.api import ParameterError
from driftcam.webrtc.operation import Content, Operation, Refused

PATH = "/api/midi"


def operations(context: Context) -> list[Operation]:
    async def get(request: web.Request) -> web.StreamResponse:
        return web.json_response(await _midi(context).state())

    async def learn(request: web.Request) -> web.StreamResponse:
        midi, body = _midi(context), await read_json(request)
        target = body.get("target") if isinstance(body, dict) else None
        if not isinstance(target, str):
            raise ParameterError("midi", target, 'send {"target": "strength"}')
        midi.learn(target)
        return web.json_response(await midi.state())

    async def forget(request: web.Request) -> web.StreamResponse:
        midi = _midi(context)
        await midi.forget(parse_control(request.match_info["control"]))
        return web.json_response(await midi.state())

    state = Content("ports, and what each control is for", ref("Midi"))
    none, bad = Content("no controllers are listened to", ref("Error")), Content("nothing was changed", ref("Error"))
    target = {"type": "object", "required": ["target"], "properties": {"target": {"type": "string"}}}
    about = "a parameter, bypass, beat or preset NAME; empty ends the wait"
    return [
        Operation("GET", PATH, get, "what MIDI controllers do", {200: state, 404: none}),
        Operation(
            "POST",
            f"{PATH}/learn",
            learn,
            "the next control that is moved is for this",
            {200: state, 404: none, 422: bad},
            Content(about, target),
        ),
        Operation(
            "DELETE", f"{PATH}/{{control}}", forget, "forget what was learned", {200: state, 404: none, 422: bad}
        ),
    ]


def _midi(context: Context) -> Midi:
    """Raises `Refused`."""
    if context.midi is None:
        raise Refused(404, 'MIDI: write the names of ports into the configuration, [midi] ports = ["…"]', field="midi")
    return context.midi
