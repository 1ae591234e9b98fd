"""A browser shows the token once and gets a cookie, which pictures and sockets carry too."""

from __future__ import annotations

from aiohttp import web

from driftcam.daemon.http.token import COOKIE, Gate
from driftcam.webrtc.operation import Content, Operation, Refused

PATH = "/api/login"
MONTH = 30 * 24 * 3600


def operations(gate: Gate | None, secure: bool) -> list[Operation]:
    """`gate` is None where no token is asked for; `secure`: the server speaks TLS."""

    async def login(request: web.Request) -> web.StreamResponse:
        response = web.Response(status=204)
        if gate is not None:
            if not gate.knows_token(request.headers.get("Authorization")):
                raise Refused(401, "token: it is not the right one; it is in the daemon's token file", field="token")
            # Strict: no foreign page can make a browser use it.
            response.set_cookie(
                COOKIE, gate.cookie, max_age=MONTH, httponly=True, samesite="Strict", secure=secure, path="/"
            )
        return response

    async def logout(request: web.Request) -> web.StreamResponse:
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=secure)
        return response

    done = {204: Content("done")}
    return [
        Operation("POST", PATH, login, "change the token (Authorization: Bearer) for a cookie", done, public=True),
        Operation("DELETE", PATH, logout, "forget the cookie", done, public=True),
    ]
