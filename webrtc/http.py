"""WHIP (RFC 9725), WHEP and the page's own connection, as routes of an aiohttp application.

    POST   /whip/SESSION       an offer (application/sdp) → 201, the answer, Location, ETag, Link: rel="ice-server"
    PATCH  /whip/SESSION/ID    later candidates (application/trickle-ice-sdpfrag), If-Match → 204
    DELETE /whip/SESSION/ID    the end → 200
    GET    /whip/SESSION/ID    204 while it lives, 410 with the reason after

`/whep/…` gives results in the same way, `/api/peers/…` does both over one connection. Without SESSION it is `live`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import web

from driftcam.webrtc.peer import Peer
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.sdp import MOST_BYTES, Role, read_fragment
from driftcam.webrtc.settings import IceServer
from driftcam.webrtc.stream import Refused

SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
DEFAULT_SESSION = "live"
NAME = re.compile(r"[A-Za-z0-9-]{1,32}")
CORS = {
    "Access-Control-Allow-Origin": "*",  # what may be done is decided by the token, which no browser sends by itself
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, GET, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After",
    "Access-Control-Max-Age": "600",
}


def add_routes(app: web.Application, peers: Peers) -> None:
    """Whoever calls this guards the routes: token, `Host` and `Origin` are checked by the application."""
    handlers = _Handlers(peers)
    for role in Role:
        for path in (f"/{_prefix(role)}", f"/{_prefix(role)}/{{session}}"):
            app.router.add_post(path, handlers.answered(role, handlers.post))
            app.router.add_route("OPTIONS", path, handlers.options)
        path = f"/{_prefix(role)}/{{session}}/{{peer}}"
        app.router.add_patch(path, handlers.answered(role, handlers.patch))
        app.router.add_delete(path, handlers.answered(role, handlers.delete))
        app.router.add_get(path, handlers.answered(role, handlers.get))
        app.router.add_route("OPTIONS", path, handlers.options)
    app.router.add_get("/api/peers", handlers.list)
    app.router.add_get("/api/ice-servers", handlers.ice_servers)


def _prefix(role: Role) -> str:
    return "api/peers" if role is Role.BOTH else role.value


class _Handlers:
    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        servers = peers.settings.ice_servers
        self._links = [link for server in servers for link in links(server)]

    def answered(self, role: Role, handler: Callable) -> Callable:
        """`handler`, with CORS headers and refusals as answers."""

        async def answering(request: web.Request) -> web.StreamResponse:
            try:
                response = await handler(request, role)
            except Refused as error:
                retry = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
                response = web.json_response(
                    {"field": error.field, "message": str(error)}, status=error.status, headers=retry
                )
            response.headers.update(CORS)
            return response

        return answering

    async def post(self, request: web.Request, role: Role) -> web.Response:
        _check_type(request, SDP)
        name = request.match_info.get("session", DEFAULT_SESSION)
        if not NAME.fullmatch(name):
            raise Refused(404, "a session's name has at most 32 letters, digits and -")
        peer, answer = await self._peers.connect(role, name, await _text(request))
        response = web.Response(status=201, text=answer, content_type=SDP)
        response.headers["Location"] = f"/{_prefix(role)}/{name}/{peer.id}"
        response.headers["ETag"] = peer.etag
        response.headers["Accept-Patch"] = FRAGMENT
        for link in self._links:
            response.headers.add("Link", link)
        return response

    async def patch(self, request: web.Request, role: Role) -> web.Response:
        peer = self._peer(request, role)
        _check_type(request, FRAGMENT)
        matches = request.headers.get("If-Match")
        if matches is None:
            raise Refused(428, "send If-Match with the ETag of the answer")
        if matches == "*":
            raise Refused(422, "ICE restarts are not supported; connect anew")
        if peer.etag not in (part.strip() for part in matches.split(",")):
            raise Refused(412, "the ETag is another one")
        await peer.add_candidates(read_fragment(await _text(request), peer.ufrag))
        return web.Response(status=204, headers={"ETag": peer.etag})

    async def delete(self, request: web.Request, role: Role) -> web.Response:
        await self._peer(request, role).close("it was ended")
        return web.Response(status=200)

    async def get(self, request: web.Request, role: Role) -> web.Response:
        self._peer(request, role)
        return web.Response(status=204)

    async def options(self, request: web.Request) -> web.Response:
        """Before a page of another origin may ask; RFC 9725 wants the types too."""
        is_peer = "peer" in request.match_info
        accept = {"Accept-Patch": FRAGMENT} if is_peer else {"Accept-Post": SDP}
        response = web.Response(status=204, headers={**CORS, **accept})
        for link in self._links:
            response.headers.add("Link", link)
        return response

    async def list(self, request: web.Request) -> web.Response:
        return web.json_response(await self._peers.status())

    async def ice_servers(self, request: web.Request) -> web.Response:
        """For the page's `RTCPeerConnection`."""
        return web.json_response([server.to_dict() for server in self._peers.settings.ice_servers])

    def _peer(self, request: web.Request, role: Role) -> Peer:
        return self._peers.find(role, request.match_info["session"], request.match_info["peer"])


def links(server: IceServer) -> list[str]:
    """`Link` headers that name an ICE server (RFC 9725, 4.6)."""
    login = ""
    if server.username and server.credential:
        login = f"; username={_quoted(server.username)}; credential={_quoted(server.credential)}"
        login += '; credential-type="password"'
    return [f'<{url}>; rel="ice-server"{login}' for url in server.urls]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _check_type(request: web.Request, wanted: str) -> None:
    if request.content_type != wanted:
        raise Refused(415, f"send {wanted}")


async def _text(request: web.Request) -> str:
    """The body, never more than `MOST_BYTES` of it."""
    if (request.content_length or 0) > MOST_BYTES:
        raise Refused(413, f"send at most {MOST_BYTES} bytes")
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > MOST_BYTES:
            raise Refused(413, f"send at most {MOST_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused(400, "send UTF-8") from None
