"""The engine process, and what the daemon has said."""

from __future__ import annotations

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.query import query_choice, query_number
from driftcam.daemon.http.schemas import many, ref
from driftcam.daemon.service.logs import LEVELS, RECENT
from driftcam.webrtc.operation import SESSION, Content, Operation, Refused, Schema


def operations(context: Context) -> list[Operation]:
    supervisor = context.core.supervisor

    async def get(request: web.Request) -> web.StreamResponse:
        session = context.session(request)
        described = {
            "state": supervisor.state,
            "reason": supervisor.reason,
            "backend": supervisor.backend,
            "restarts": supervisor.restarts,
            "pid": supervisor.pid,
            "report": await session.report(),
        }
        return web.json_response(described)

    async def insight(request: web.Request) -> web.StreamResponse:
        report = await context.session(request).report(insight=True)
        if "noise" not in report:
            raise Refused(409, "insight: there is no engine at the moment")
        return web.json_response({name: report[name] for name in ("flow", "noise", "cut")})

    async def restart(request: web.Request) -> web.StreamResponse:
        supervisor.restart("somebody asked for it")
        return web.Response(status=202)

    async def logs(request: web.Request) -> web.StreamResponse:
        level = query_choice(request, "level", LEVELS, "debug")
        return web.json_response(context.recent.lines(query_number(request, "lines", 1, RECENT, 100), level))

    pictures = {200: Content("the last frame's flow and noise", ref("Insight")), 409: Content("not now", ref("Error"))}
    engine = {200: Content("what it is doing", ref("Engine"))}
    asked = {202: Content("it ends and starts again")}
    lines: dict[str, Schema] = {
        "lines": {"type": "integer", "minimum": 1, "maximum": RECENT},
        "level": {"enum": list(LEVELS)},
    }
    newest = {200: Content("oldest first", many("LogLine"))}
    return [
        Operation("GET", "/api/engine", get, "the engine process", engine, query={"session": SESSION}),
        Operation("GET", "/api/insight", insight, "what the noise is doing", pictures, query={"session": SESSION}),
        Operation("POST", "/api/engine/restart", restart, "end the engine process and start another", asked),
        Operation("GET", "/api/logs", logs, "the newest lines of the log", newest, query=lines),
    ]
