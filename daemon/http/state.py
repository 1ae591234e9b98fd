"""The state of a session, once or as it changes; the list of sessions."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from aiohttp import WSMsgType, web

from driftcam.daemon import background
from driftcam.daemon.http.context import Context
from driftcam.daemon.http.schemas import many, ref
from driftcam.daemon.session.session import Session
from driftcam.webrtc.operation import SESSION, Content, Operation, Refused

EVERY = 0.5


def operations(context: Context) -> list[Operation]:
    async def get(request: web.Request) -> web.StreamResponse:
        return web.json_response(context.state(context.session(request)))

    async def sessions(request: web.Request) -> web.StreamResponse:
        return web.json_response([context.state(session) for session in context.core.sessions])

    async def events(request: web.Request) -> web.StreamResponse:
        return await _events(context, request)

    state = Content("the session's numbers and parameters", ref("State"))
    socket = Content("a WebSocket: the state as JSON, at each change and twice a second")
    query = {"session": SESSION}
    return [
        Operation("GET", "/api/state", get, "the state of a session", {200: state}, query=query),
        Operation("GET", "/api/sessions", sessions, "all sessions", {200: Content("their states", many("State"))}),
        Operation("GET", "/api/events", events, "the state as it changes", {101: socket}, query=query, streams=True),
    ]


async def _events(context: Context, request: web.Request) -> web.StreamResponse:
    session = context.session(request)
    socket = web.WebSocketResponse(heartbeat=20, max_msg_size=1024)
    if not socket.can_prepare(request):
        raise Refused(400, "this is a WebSocket; open it as one")
    with context.viewers.slot() as free:
        if not free:
            raise Refused(503, "too many pages are open", retry_after=5)
        await socket.prepare(request)
        sending = background.start(_send_states(context, session, socket), "sending states", partial(_hang_up, request))
        try:
            async for message in socket:  # nothing is expected; reading notices the end
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return socket


def _hang_up(request: web.Request) -> None:
    """The page comes again."""
    if request.transport is not None:
        request.transport.abort()


async def _send_states(context: Context, session: Session, socket: web.WebSocketResponse) -> None:
    """Until the viewer or the session goes."""
    news = asyncio.Event()
    end_listening = session.control.listen(news.set)
    try:
        while not socket.closed and context.core.sessions.get(session.name) is session:
            await socket.send_json(context.state(session))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await news.wait()
            news.clear()
        await socket.close()
    except ConnectionError:
        pass
    finally:
        end_listening()
