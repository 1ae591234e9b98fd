"""WHIP (RFC 9725), WHEP and the page's own connection, as operations over HTTP.

    POST   /whip/SESSION       an offer (application/sdp) → 201, the answer, Location, ETag, Link: rel="ice-server"
    PATCH  /whip/SESSION/ID    later candidates (application/trickle-ice-sdpfrag), If-Match → 204
    DELETE /whip/SESSION/ID    the end → 200
    GET    /whip/SESSION/ID    204 while it lives, 410 with the reason after

`/whep/…` gives results in the same way, `/api/peers/…` does both over one connection. Without SESSION it is `live`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiohttp import web

from driftcam.webrtc.operation import Content, Operation, Refused, Schema
from driftcam.webrtc.peer import Peer
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.sdp import MOST_BYTES, Role, read_fragment
from driftcam.webrtc.settings import IceServer
from driftcam.webrtc.stream import DEFAULT_NAME, NAME

SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
ABOUT = {
    Role.PUBLISHER: "send pictures (WHIP, RFC 9725)",
    Role.VIEWER: "look on (WHEP)",
    Role.BOTH: "send pictures and look on over one connection, as the page does",
}
ERROR: Schema = {"$ref": "#/components/schemas/Error"}
CORS = {
    "Access-Control-Allow-Origin": "*",  # what may be done is decided by the token, which no browser sends by itself
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, GET, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After",
    "Access-Control-Max-Age": "600",
}


PEERS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "role", "session", "state"],
        "properties": {name: {"type": "string"} for name in ("id", "role", "session", "state")},
    },
}
ICE_SERVERS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["urls"],
        "properties": {
            "urls": {"type": "array", "items": {"type": "string"}},
            "username": {"type": "string"},
            "credential": {"type": "string"},
        },
    },
}


def operations(peers: Peers) -> list[Operation]:
    """Whoever serves them guards them: token, `Host` and `Origin` are checked by the application."""
    handlers = _Handlers(peers)
    known = Content("all peers", PEERS)
    servers = Content("for an RTCPeerConnection", ICE_SERVERS)
    return [
        *(operation for role in Role for operation in _operations(role, handlers)),
        Operation("GET", "/api/peers", handlers.list, "who is connected over WebRTC", {200: known}),
        Operation("GET", "/api/ice-servers", handlers.ice_servers, "STUN and TURN servers", {200: servers}),
    ]


def _operations(role: Role, handlers: _Handlers) -> Iterator[Operation]:
    cross = role is not Role.BOTH  # which is for the page alone
    offer = Content("an offer (SDP)", {"type": "string"}, SDP)
    later = Content("later candidates", {"type": "string"}, FRAGMENT)
    answers = {201: Content("the answer (SDP); Location and ETag name the peer", {"type": "string"}, SDP)}
    nothing = Content("no content")

    def one(method: str, path: str, handler: Callable, about: str, answers: Mapping, **more: Any) -> Operation:
        served = handlers.answered(role, handler)
        return Operation(method, path, served, about, answers, cross_origin=cross, **more)

    for path in (f"/{_prefix(role)}", f"/{_prefix(role)}/{{session}}"):
        yield one("POST", path, handlers.post, ABOUT[role], answers, body=offer)
        yield one("OPTIONS", path, handlers.options, "what may be sent", {204: nothing}, public=cross)
    path = f"/{_prefix(role)}/{{session}}/{{peer}}"
    matches = {"If-Match": "the ETag of the answer"}
    yield one("PATCH", path, handlers.patch, "later candidates", {204: nothing}, body=later, headers=matches)
    yield one("DELETE", path, handlers.delete, "end the connection", {200: nothing})
    gone = Content("it has ended, and why", ERROR)
    yield one("GET", path, handlers.get, "whether it lives", {204: Content("it does"), 410: gone})
    yield one("OPTIONS", path, handlers.options, "what may be sent", {204: nothing}, public=cross)


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
                response = error.answer()
            response.headers.update(CORS)
            return response

        return answering

    async def post(self, request: web.Request, role: Role) -> web.Response:
        _check_type(request, SDP)
        name = request.match_info.get("session", DEFAULT_NAME)
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

    async def options(self, request: web.Request, role: Role) -> web.Response:
        """Before a page of another origin may ask; RFC 9725 wants the types too."""
        is_peer = "peer" in request.match_info
        accept = {"Accept-Patch": FRAGMENT} if is_peer else {"Accept-Post": SDP}
        response = web.Response(status=204, headers=accept)
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
