"""Back to the look before the last change, and forth."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.schemas import ref
from driftcam.daemon.session.control import Control
from driftcam.webrtc.operation import SESSION, Content, Operation, Refused

NOTHING = {"undo": "nothing was changed yet", "redo": "nothing was undone since the last change"}


def operations(context: Context) -> list[Operation]:
    def step(name: str, go: Callable[[Control], Coroutine[Any, Any, bool]], about: str) -> Operation:
        async def handle(request: web.Request) -> web.StreamResponse:
            session = context.session(request)
            if not await go(session.control):
                raise Refused(409, f"{name}: {NOTHING[name]}", field=name)
            return web.json_response(context.state(session))

        answers = {200: Content("the state after that", ref("State")), 409: Content(NOTHING[name], ref("Error"))}
        return Operation("POST", f"/api/{name}", handle, about, answers, query={"session": SESSION})

    return [
        step("undo", Control.undo, "go back to the look before the last change"),
        step("redo", Control.redo, "do again what was undone"),
    ]
