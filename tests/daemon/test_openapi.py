"""The OpenAPI document against the routes there are and, by schemathesis, against a running server."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings

from driftcam.daemon.browser import PeerStreams
from driftcam.daemon.http.openapi import document
from driftcam.daemon.http.page import FILES
from driftcam.daemon.http.server import HttpServer, Security
from driftcam.webrtc.http import FRAGMENT, SDP, operations
from driftcam.webrtc.operation import operation_path
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.settings import Settings
from tests.daemon.http_daemon import daemon_in

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
STREAMS = ["/api/events", "/result.mjpeg", "/source.mjpeg"]  # they have no end to wait for
LIMITS = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Server(threading.Thread):
    """A daemon with frames coming in, in a loop of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self.ready: Future[tuple[str, HttpServer]] = Future()
        self._loop = asyncio.new_event_loop()
        self._end_asked = asyncio.Event()

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if not self.ready.done():
                self.ready.set_exception(error)

    async def _serve(self) -> None:
        async with daemon_in(self._folder) as daemon:
            peers = Peers(PeerStreams(daemon.core.sessions), Settings())
            server = HttpServer(daemon.context, Security(requests_per_second=10_000), operations(peers))
            address = await server.start("127.0.0.1", 0)
            async with daemon.frames():
                self.ready.set_result((address, server))
                await self._end_asked.wait()
            await peers.close()
            await server.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._end_asked.set)
        self.join(30)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, HttpServer]]:
    server = Server(tmp_path_factory.mktemp("openapi"))
    server.start()
    yield server.ready.result(60)
    server.end()


def test_every_route_is_in_the_document_and_nothing_else(served: tuple[str, HttpServer]) -> None:
    _, server = served
    described = document(server.operations)
    in_document = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    of_the_page = {*FILES, "/styles/{name}.jpg"}
    routed = {
        (route.method, operation_path(route.resource.canonical))  # WHIP and WHEP also with a slash behind it
        for route in server.app.router.routes()
        if route.resource is not None and route.resource.canonical not in of_the_page
    }
    assert in_document == routed


def test_whip_and_whep_are_in_the_document(served: tuple[str, HttpServer]) -> None:
    paths = document(served[1].operations)["paths"]
    for prefix in ("/whip", "/whep", "/api/peers"):
        assert SDP in paths[f"{prefix}/{{session}}"]["post"]["requestBody"]["content"]
        assert SDP in paths[f"{prefix}/{{session}}"]["post"]["responses"]["201"]["content"]
        peer = paths[f"{prefix}/{{session}}/{{peer}}"]
        assert peer.keys() == {"patch", "delete", "get", "options"}
        assert FRAGMENT in peer["patch"]["requestBody"]["content"]
        assert [each["name"] for each in peer["patch"]["parameters"]] == ["session", "peer", "If-Match"]
    assert {"/api/peers", "/api/ice-servers"} <= paths.keys()


def test_every_reference_leads_somewhere(served: tuple[str, HttpServer]) -> None:
    described = document(served[1].operations)
    references = set(re.findall(r"#/components/schemas/(\w+)", str(described)))
    assert references == set(described["components"]["schemas"])
    identifiers = [one["operationId"] for item in described["paths"].values() for one in item.values()]
    assert len(identifiers) == len(set(identifiers))


def test_whatever_is_sent_is_answered_as_the_document_says(served: tuple[str, HttpServer]) -> None:
    """No 5xx, no hang, no status, type or body that the document does not know."""
    address, _ = served
    for media in (SDP, FRAGMENT):
        schemathesis.serializer(media)(lambda context, value: str(value).encode(errors="replace"))
    schema = schemathesis.openapi.from_url(f"{address}api/openapi.json").exclude(path=STREAMS)
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    ]
    sent = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(LIMITS)
        @given(case=operation.as_strategy())
        def try_it(case) -> None:
            nonlocal sent
            sent += 1
            case.call_and_validate(base_url=address, checks=checks, timeout=15)

        try_it()
    assert sent > 100


def test_the_web_framework_adds_no_route_by_itself(served: tuple[str, HttpServer]) -> None:
    assert all(isinstance(route.resource, web.Resource) for route in served[1].app.router.routes())
