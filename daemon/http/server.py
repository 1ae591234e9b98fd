"""The HTTP server: gathers the resources, guards every request, explains every refusal."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from driftcam.daemon import background
from driftcam.daemon.errors import RunError
from driftcam.daemon.http import (
    anchors,
    bypass,
    engine,
    health,
    login,
    midi,
    modulation,
    openapi,
    page,
    parameters,
    pictures,
    planes,
    presets,
    recording,
    share,
    state,
    thumbnails,
    undo,
)
from driftcam.daemon.http.connections import IdleTimeout
from driftcam.daemon.http.context import Context
from driftcam.daemon.http.guard import HEADERS, refusal
from driftcam.daemon.http.limits import ConcurrencyLimit, RateLimiter
from driftcam.daemon.http.query import refused
from driftcam.daemon.http.token import COOKIE, Gate
from driftcam.daemon.pictures import MAX_BYTES
from driftcam.daemon.session.recordings import Conflict
from driftcam.engines.api import ParameterError
from driftcam.webrtc.operation import Content, Handler, Operation, Refused, operation_path, route

RESOURCES = (
    page,
    state,
    parameters,
    undo,
    planes,
    thumbnails,
    presets,
    anchors,
    pictures,
    recording,
    bypass,
    midi,
    modulation,
    engine,
    health,
)
TIMEOUT = 30.0  # seconds for a request with an end, its body included
MOST_AT_ONCE = 64  # requests with an end
log = logging.getLogger("driftcam.http")


@dataclass(frozen=True)
class Security:
    """Who may do what.

    Attributes:
        token: is asked for; None asks for none, which is for this machine only.
        local: only reached from this machine.
        hosts: further names of this machine.
        requests_per_second: of one client.
        tls: for HTTPS.
    """

    token: str | None = None
    local: bool = True
    hosts: Collection[str] = ()
    requests_per_second: float = 100
    tls: ssl.SSLContext | None = None


class HttpServer:
    """Serves on one address from `start` to `close`.

    `more` operations are served, documented and guarded as all the others.
    """

    def __init__(
        self,
        context: Context,
        security: Security | None = None,
        more: Iterable[Operation] = (),
    ) -> None:
        self._security = security or Security()
        self._gate = Gate(self._security.token) if self._security.token else None
        self.rates = RateLimiter(self._security.requests_per_second)
        self._concurrency = ConcurrencyLimit(MOST_AT_ONCE)
        self._context = context
        self._runner: web.AppRunner | None = None
        self._idle = IdleTimeout()
        self._sweeping: asyncio.Task[None] | None = None
        self._address = ""
        self.operations = [operation for resource in RESOURCES for operation in resource.operations(context)]
        self.operations += login.operations(self._gate, self._security.tls is not None)
        self.operations += share.operations(lambda: self._address, self._security)
        self.operations += [*more, self._document()]
        self.app = web.Application(middlewares=[self._explained, self._guarded], client_max_size=MAX_BYTES)
        self.app.on_response_prepare.append(_add_headers)
        self._by_route = {(each.method, each.path): each for each in self.operations}
        route(self.app, self.operations)

    async def start(self, host: str, port: int) -> str:
        """Listen; returns the page's address. Raises `ParameterError` where the port cannot be had."""
        logging.getLogger("aiohttp.server").addFilter(worth_logging)
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=1.0, max_field_size=8190)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=self._security.tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise ParameterError("listen", f"{host}:{port}", f"choose another address or port ({reason})") from None
        listening = self._runner.server
        assert listening is not None
        self._sweeping = background.keep(lambda: self._idle.sweep(lambda: listening.connections), "idle connections")
        bound = self._runner.addresses[0][1]
        scheme = "https" if self._security.tls else "http"
        self._address = f"{scheme}://[{host}]:{bound}/" if ":" in host else f"{scheme}://{host}:{bound}/"
        return self._address

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    def _document(self) -> Operation:
        async def document(request: web.Request) -> web.StreamResponse:
            return web.json_response(openapi.document(self.operations))

        answer = Content("OpenAPI 3.1", {"type": "object"})
        return Operation("GET", "/api/openapi.json", document, "this document", {200: answer}, public=True)

    @web.middleware
    async def _explained(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whatever goes wrong, the client gets JSON with words for people."""
        try:
            return await handler(request)
        except Refused as refusal:
            return refusal.answer()
        except ParameterError as error:
            return refused(error).answer()
        except Conflict as error:
            return Refused(409, str(error)).answer()
        except RunError as error:
            return Refused(507, str(error)).answer()
        except TimeoutError:
            return Refused(408, "the request took too long to arrive or to be done").answer()
        except web.HTTPException as error:
            answer = Refused(error.status, error.reason).answer()
            if allowed := error.headers.get("Allow"):
                answer.headers["Allow"] = allowed
            return answer
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return Refused(500, "the daemon made a mistake; its log says more").answer()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Host and Origin are checked before anything else, then the rate, then the token."""
        security, headers = self._security, request.headers
        self._idle.asked(request.protocol)
        operation = self._operation(request)
        origin = None if self._is_open_to_pages(request, operation) else headers.get("Origin")
        reason = refusal(headers.get("Host"), origin, local=security.local, names=security.hosts)
        if reason is not None:
            raise Refused(403, reason)
        if wait := self.rates.wait(request.remote or "", time.monotonic()):
            raise Refused(429, f"too many requests; wait {wait:.1f} s", retry_after=wait)
        if not ((operation is not None and operation.public) or self._knows(request)):
            raise Refused(
                401, "token: send Authorization: Bearer with what is in the daemon's token file", field="token"
            )
        if operation is not None and operation.streams:
            return await handler(request)
        with self._concurrency.slot() as free:
            if not free:
                raise Refused(503, "too many requests at once", retry_after=1)
            async with asyncio.timeout(TIMEOUT):
                return await handler(request)

    def _is_open_to_pages(self, request: web.Request, operation: Operation | None) -> bool:
        """Whether pages of other origins may ask: only who has the token (no cookie is asked for).

        Before they ask, browsers send OPTIONS, which changes nothing and tells nothing.
        """
        if operation is None or not operation.cross_origin:
            return False
        if operation.public:
            return True
        return self._gate is not None and self._gate.knows_token(request.headers.get("Authorization"))

    def _operation(self, request: web.Request) -> Operation | None:
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        return self._by_route.get((method, operation_path(resource.canonical))) if resource is not None else None

    def _knows(self, request: web.Request) -> bool:
        if self._gate is None:
            return True
        if self._gate.knows_token(request.headers.get("Authorization")):
            return True
        return self._gate.knows_cookie(request.cookies.get(COOKIE))


def worth_logging(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's belongs in the log: that somebody sent what is no HTTP does not, it got its 400."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Before any answer is sent."""
    response.headers.update(HEADERS)
