"""For programs that watch: is it alive, is it ready, how is it."""

from __future__ import annotations

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.schemas import ref
from driftcam.webrtc.operation import Content, Operation

METRICS = "text/plain; version=0.0.4; charset=utf-8"


def operations(context: Context) -> list[Operation]:
    async def alive(request: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": True, "reason": ""})

    async def ready(request: web.Request) -> web.StreamResponse:
        reason = context.unready()
        return web.json_response({"ok": not reason, "reason": reason}, status=503 if reason else 200)

    async def metrics(request: web.Request) -> web.StreamResponse:
        data = await context.expose()
        return web.Response(body=data, headers={"Content-Type": METRICS})

    health, waiting = Content("yes", ref("Health")), Content("not now, and why", ref("Health"))
    numbers = Content("Prometheus' text format", {"type": "string"}, "text/plain")
    return [
        Operation("GET", "/healthz", alive, "the daemon answers", {200: health}, public=True),
        Operation("GET", "/readyz", ready, "frames can come", {200: health, 503: waiting}, public=True),
        Operation("GET", "/metrics", metrics, "numbers for Prometheus", {200: numbers}),
    ]
