"""Who is let in, and how much they may ask for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientSession, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.http.guard import refusal
from driftcam.daemon.http.limits import MOST_CLIENTS, RateLimiter
from driftcam.daemon.http.page import FILES
from driftcam.daemon.http.server import HttpServer, Security
from driftcam.daemon.http.token import COOKIE, Gate, read_or_make
from driftcam.engines.api import ParameterError
from driftcam.webrtc.operation import Operation
from tests.daemon.http_daemon import START, Daemon, daemon_in

TOKEN = "a-token-that-nobody-guesses"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OUTSIDE = Security(token=TOKEN, local=False, hosts=("studio.example",), requests_per_second=10_000)
in_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    async with daemon_in(tmp_path_factory.mktemp("security")) as daemon:
        yield daemon


@pytest.mark.parametrize("host", ["127.0.0.1:8900", "localhost:8900", "LOCALHOST", "[::1]:8900", "127.0.0.1"])
def test_this_machine_by_any_of_its_names_is_let_in(host: str) -> None:
    assert refusal(host, None) is None
    assert refusal(host, f"http://{host}") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8900", "127.0.0.1.evil.example", "", None, "[::1", "a b", "192.168.1.2"]
)
def test_a_foreign_name_for_this_machine_is_refused(host: str | None) -> None:
    assert "Host" in (refusal(host, None) or "")


@pytest.mark.parametrize("host", ["192.168.1.2:8900", "[fe80::1]", "studio.example:8900", "localhost"])
def test_beyond_this_machine_addresses_and_configured_names_are_let_in(host: str) -> None:
    assert refusal(host, f"https://{host}", local=False, names=["studio.example"]) is None
    assert "Host" in (refusal("evil.example", None, local=False, names=["studio.example"]) or "")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null", "", "http://[", "file://"])
def test_a_foreign_page_is_refused(origin: str) -> None:
    assert "Origin" in (refusal("localhost:8900", origin) or "")


@given(st.text(max_size=40), st.text(max_size=40), st.booleans())
def test_no_header_breaks_the_guard(host: str, origin: str, local: bool) -> None:
    refusal(host, origin, local=local)


def every_route(client: TestClient) -> list[tuple[str, str]]:
    """Method and a path that fits, of everything that the server routes."""
    routes = client.server.app.router.routes()  # type: ignore[union-attr]
    resources = [(route.method, route.resource) for route in routes if route.resource is not None]
    return [(method, resource.canonical.replace("{name}", "dusk")) for method, resource in resources]


@in_loop
@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
async def test_every_route_is_guarded(daemon: Daemon, headers: dict[str, str]) -> None:
    async with daemon.client() as client:
        assert len(every_route(client)) > 25
        for method, path in [*every_route(client), ("GET", "/none")]:
            response = await client.request(method, path, headers=headers)
            assert response.status == 403, (method, path)
    assert daemon.session.control.parameters == START


PUBLIC = {*FILES, "/styles/dusk.jpg", "/healthz", "/readyz", "/api/openapi.json", "/api/login"}


@in_loop
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer ü"},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": f"{COOKIE}="},
    ],
)
async def test_without_the_token_nothing_but_the_page_is_there(daemon: Daemon, headers: dict[str, str]) -> None:
    async with daemon.client(OUTSIDE) as client:
        for method, path in [*every_route(client), ("GET", "/none")]:
            response = await client.request(method, path, headers=headers)
            if path not in PUBLIC:
                assert response.status == 401, (method, path)
                assert (await response.json())["field"] == "token" if method != "HEAD" else True
    assert daemon.session.control.parameters == START


@in_loop
async def test_with_the_token_everything_is_there(daemon: Daemon) -> None:
    async with daemon.client(OUTSIDE) as client:
        assert (await client.get("/api/state", headers=BEARER)).status == 200
        assert (await client.get("/api/state?token=" + TOKEN)).status == 401, "an address is written to logs"


@in_loop
async def test_a_browser_logs_in_once_for_pictures_and_sockets(daemon: Daemon) -> None:
    async with daemon.client(OUTSIDE) as client:
        assert (await client.post("/api/login")).status == 401
        response = await client.post("/api/login", headers=BEARER)
        cookie = response.headers["Set-Cookie"]
        assert response.status == 204
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
        assert TOKEN not in cookie
        headers = {"Cookie": cookie.partition(";")[0]}
        async with client.ws_connect("/api/events", headers=headers) as socket:
            assert (await socket.receive_json())["session"] == "live"
        pictures = await client.get("/result.mjpeg", headers=headers)
        assert pictures.status == 200
        pictures.close()
        client.session.cookie_jar.clear()
        with pytest.raises(WSServerHandshakeError):
            await client.ws_connect("/api/events", headers={"Cookie": f"{COOKIE}=0"})


@in_loop
async def test_routes_of_another_room_are_guarded_too(daemon: Daemon) -> None:
    async def whip(request: web.Request) -> web.Response:
        return web.Response(text="peer")

    more = [
        Operation("POST", "/whip", whip, "send", cross_origin=True),
        Operation("OPTIONS", "/whip", whip, "what may be sent", cross_origin=True, public=True),
        Operation("POST", "/own", whip, "for pages of ours"),
    ]
    server = HttpServer(daemon.context, OUTSIDE, more=more)
    foreign = {"Origin": "https://player.example"}
    async with TestClient(TestServer(server.app)) as client:
        assert (await client.post("/whip")).status == 401
        assert await (await client.post("/whip", headers=BEARER)).text() == "peer"
        assert (await client.post("/whip", headers=BEARER | {"Host": "evil.example"})).status == 403
        assert (await client.post("/whip", headers=BEARER | foreign)).status == 200
        assert (await client.options("/whip", headers=foreign)).status == 200
        assert (await client.post("/whip", headers=foreign)).status == 403
        assert (await client.post("/own", headers=BEARER | foreign)).status == 403


def test_the_token_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token"
    token = read_or_make(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make(path) == token
    assert read_or_make(tmp_path / "other") != token


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666])
def test_a_token_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    read_or_make(path)
    path.chmod(mode)
    with pytest.raises(ParameterError, match="chmod 600"):
        read_or_make(path)


@pytest.mark.parametrize("text", ["", "short", "two words that are long enough", "\xe4" * 30])
def test_a_weak_token_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ParameterError, match="delete it"):
        read_or_make(path)


def test_a_token_is_no_link_and_no_folder(tmp_path: Path) -> None:
    read_or_make(tmp_path / "token")
    (tmp_path / "link").symlink_to(tmp_path / "token")
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("link", "folder"):
        with pytest.raises(ParameterError):
            read_or_make(tmp_path / name)


@given(st.text(max_size=60))
def test_only_the_token_opens_the_gate(given_token: str) -> None:
    gate = Gate(TOKEN)
    assert gate.knows_token(f"Bearer {given_token}") == (given_token.strip() == TOKEN)
    assert gate.knows_cookie(given_token) == (given_token == gate.cookie)


def test_a_client_gets_its_rate_and_not_more() -> None:
    rates = RateLimiter(10)
    assert [rates.wait("a", 0.0) for _ in range(20)] == [0.0] * 20
    assert rates.wait("a", 0.0) == pytest.approx(0.1)
    assert rates.wait("b", 0.0) == 0.0, "others are not held back"
    assert rates.wait("a", 0.1) == 0.0
    assert sum(rates.wait("a", 1 + step / 100) == 0 for step in range(1000)) == pytest.approx(109, abs=1)


def test_the_memory_for_rates_is_bounded() -> None:
    rates = RateLimiter(10)
    for number in range(3 * MOST_CLIENTS):
        rates.wait(str(number), 0.0)
    assert len(rates._buckets) <= MOST_CLIENTS


@in_loop
async def test_too_many_requests_are_told_when_to_come_again(daemon: Daemon) -> None:
    async with daemon.client(Security(requests_per_second=2)) as client:
        answers = [await client.get("/healthz") for _ in range(20)]
        assert answers[0].status == 200
        assert answers[-1].status == 429
        assert int(answers[-1].headers["Retry-After"]) >= 1


@in_loop
async def test_a_body_that_never_ends_is_given_up(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftcam.daemon.http.server.TIMEOUT", 0.3)
    async with daemon.client() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = f"PATCH /api/parameters HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()


@in_loop
async def test_a_connection_that_never_asks_is_closed_and_others_stay(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftcam.daemon.http.connections.TIMEOUT", 0.3)
    server = HttpServer(daemon.context)
    port = urlsplit(await server.start("127.0.0.1", 0)).port
    try:
        async with ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/api/events") as viewer:
            for sent in (b"", b"GET / HTTP/1.1\r\nHost: loc"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                async with asyncio.timeout(15):
                    with contextlib.suppress(ConnectionResetError):
                        assert await reader.read() == b""
                writer.close()
            for _ in range(3):
                assert (await viewer.receive_json())["session"] == "live"
    finally:
        await server.close()


@in_loop
async def test_garbage_is_answered_or_cut_off_and_the_server_stays(daemon: Daemon) -> None:
    garbage = [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50, b"GET " + b"a" * 20_000, bytes(4096)]
    async with daemon.client() as client:
        for data in garbage:
            _, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(data)
            await writer.drain()
            writer.close()
        assert (await client.get("/healthz")).status == 200


@in_loop
async def test_the_token_is_never_logged(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with daemon.client(OUTSIDE) as client:
        await client.get("/api/state", headers=BEARER)
        await client.post("/api/login", headers=BEARER)
        await client.patch("/api/parameters", headers=BEARER, json={"strength": TOKEN})
    assert TOKEN not in "".join(record.getMessage() for record in caplog.records if "driftcam" in record.name)
