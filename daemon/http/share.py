"""Where another device finds the page: addresses, and QR codes for its camera."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from typing import Protocol
from urllib.parse import urlsplit

import segno
from aiohttp import web

from driftcam.daemon.addresses import reachable
from driftcam.daemon.http.schemas import ref
from driftcam.webrtc.operation import Content, Operation

LOCAL = (
    "Driftcam listens to this machine only. To use it from a phone in the same network, start it with"
    " driftcam serve --listen 0.0.0.0:8900 and open this page again."
)
PLAIN = "Without HTTPS a phone can look on, but its browser does not give its camera."
OWN = "The phone warns of the certificate once, as Driftcam made it itself: go on to the page all the same."


class Reach(Protocol):
    """Who reaches the server: `daemon.http.server.Security`."""

    @property
    def token(self) -> str | None: ...

    @property
    def local(self) -> bool: ...

    @property
    def hosts(self) -> Collection[str]: ...


def operations(address: Callable[[], str], reach: Reach) -> list[Operation]:
    """`address`: of the page, as it was printed."""

    async def share(request: web.Request) -> web.StreamResponse:
        if reach.local:
            return web.json_response({"addresses": [], "hint": LOCAL})
        scheme, port = urlsplit(address()).scheme, urlsplit(address()).port
        pages = [f"{scheme}://{host}:{port}/" for host in reach.hosts]
        pages += [page for page in reachable(address()) if urlsplit(page).hostname != "localhost"]
        # Behind the # sign: no server ever sees the token in a log.
        login = f"#token={reach.token}" if reach.token else ""
        answers = [{"address": page, "qr": qr_code(page + login)} for page in pages[:3]]
        return web.json_response({"addresses": answers, "hint": OWN if scheme == "https" else PLAIN})

    found = {200: Content("addresses for other devices, the best first", ref("Share"))}
    return [Operation("GET", "/api/share", share, "how another device gets to the page", found)]


def qr_code(text: str) -> str:
    """As SVG."""
    out = io.BytesIO()
    segno.make(text, error="m").save(out, kind="svg", scale=4, border=2, xmldecl=False)
    return out.getvalue().decode()
