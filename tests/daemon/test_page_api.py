"""The page's server as browsers and programs meet it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import cv2
import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from daemon.control import Control, changed
from daemon.frames import Picture, Result
from daemon.page.guard import refusal
from daemon.page.preview import Preview
from daemon.page.server import VIEWERS, PageServer
from engines.api import ParameterError, Parameters


class Engine:
    """Takes every change but one, like the supervisor."""

    def __init__(self) -> None:
        self.applied: list[Parameters] = []

    async def change(self, parameters: Parameters) -> None:
        if parameters.seed == 13:
            raise ParameterError("seed", 13, "the engine is superstitious")
        self.applied.append(parameters)

    async def style_vector(self, image: np.ndarray) -> tuple[float, ...]:
        return tuple(float(x) for x in np.resize(image.mean((0, 1)), 100))


def statistics() -> dict:
    return {"fps": 24.0, "latency_ms": 31.0, "engine": "ready", "backend": "stand-in", "dropped": 0, "notices": []}


def result(sequence: int, brightness: int = 100) -> Result:
    image = np.full((32, 48, 3), brightness, np.uint8)
    return Result(image, Picture(255 - image, sequence, 0), sequence, False, 1.0, 0)


class Page:
    def __init__(self) -> None:
        self.engine, self.preview = Engine(), Preview()
        self.control = Control(Parameters(), self.engine)
        self.server = PageServer(self.control, self.preview, statistics)


@pytest.fixture
async def page() -> Page:
    return Page()


@pytest.fixture
async def client(page: Page) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(page.server.app)) as client:
        yield client


async def test_the_page_and_its_files_are_served_with_a_strict_policy(client: TestClient) -> None:
    for path, kind in {"/": "text/html", "/app.js": "javascript", "/style.css": "text/css"}.items():
        response = await client.get(path)
        assert response.status == 200
        assert kind in response.headers["Content-Type"]
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/../server.py", "/app.py", "/__init__.py", "/styles/../app.jpg", "/styles/x.jpg"])
async def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    response = await client.get(path)
    assert response.status == 404
    assert "Content-Security-Policy" in response.headers


@pytest.mark.parametrize("host", ["127.0.0.1:8900", "localhost:8900", "LOCALHOST", "[::1]:8900", "127.0.0.1"])
def test_this_machine_by_any_of_its_names_is_let_in(host: str) -> None:
    assert refusal(host, None) is None
    assert refusal(host, f"http://{host}") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8900", "127.0.0.1.evil.example", "", None, "[::1", "a b"]
)
def test_a_foreign_name_for_this_machine_is_refused(host: str | None) -> None:
    assert "Host" in (refusal(host, None) or "")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null", "", "http://[", "file://"])
def test_a_foreign_page_is_refused(origin: str) -> None:
    assert "Origin" in (refusal("localhost:8900", origin) or "")


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_breaks_the_guard(host: str, origin: str) -> None:
    refusal(host, origin)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
async def test_every_route_is_guarded(page: Page, client: TestClient, headers: dict[str, str]) -> None:
    for method, path in [("GET", "/"), ("GET", "/result.mjpeg"), ("GET", "/api/events"), ("GET", "/api/state")]:
        assert (await client.request(method, path, headers=headers)).status == 403
    assert (await client.patch("/api/parameters", json={"strength": 0.2}, headers=headers)).status == 403
    assert (await client.put("/api/style-picture", data=b"x", headers=headers)).status == 403
    assert not page.engine.applied


async def test_a_change_is_applied_and_told_to_everybody(page: Page, client: TestClient) -> None:
    async with client.ws_connect("/api/events") as other:
        first = await other.receive_json()
        assert first["fps"] == 24.0
        changes = {"strength": 0.4, "styles": [["inferno", 1], ["weave", 3]]}
        response = await client.patch("/api/parameters", json=changes)
        assert response.status == 200
        start = time.monotonic()
        news = await other.receive_json()
        assert time.monotonic() - start < 0.4, "at once, not with the next half second"
    assert news["version"] == first["version"] + 1
    assert news["parameters"]["strength"] == 0.4
    assert news["parameters"]["styles"] == [["inferno", 0.25], ["weave", 0.75]]
    assert page.engine.applied == [page.control.parameters]


async def test_words_become_styles(page: Page, client: TestClient) -> None:
    response = await client.patch("/api/parameters", json={"prompt": "a stormy blue swirl of wind"})
    assert [name for name, _ in (await response.json())["parameters"]["styles"]][:1] == ["cobalt-swirl"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"strength": 1.5}, "strength"),
        ({"strength": "high"}, "strength"),
        ({"strength": None}, "strength"),
        ({"strength": 0.5, "steps": 99}, "steps"),
        ({"styles": [["stary-night", 1]]}, "styles"),
        ({"styles": "inferno"}, "styles"),
        ({"styles": [[["x"], {}]]}, "styles"),
        ({"width": 100}, "width"),
        ({"colour": 1}, "colour"),
        ({"prompt": "zzzz"}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"style_vector": [0.0] * 100}, "style_vector"),
        ({"seed": 13}, "seed"),
        ({"guidance": []}, "guidance"),
        ([], "changes"),
        ("strength", "changes"),
        ({}, "changes"),
    ],
)
async def test_a_bad_change_names_its_field_and_changes_nothing(
    page: Page, client: TestClient, changes: object, field: str
) -> None:
    response = await client.patch("/api/parameters", json=changes)
    answer = await response.json()
    assert (response.status, answer["field"]) == (422, field)
    assert field in answer["message"]
    assert page.control.parameters == Parameters()
    assert not page.engine.applied


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\x00", b"[" * 5000])
async def test_a_body_that_is_no_json_is_refused(client: TestClient, body: bytes) -> None:
    response = await client.patch("/api/parameters", data=body)
    assert (response.status, (await response.json())["field"]) == (422, "changes")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from([*Parameters().to_dict(), "prompt", "unknown"])


@given(st.dictionaries(names, json_values, max_size=4) | json_values)
def test_whatever_is_asked_for_is_done_or_refused(changes: object) -> None:
    try:
        assert isinstance(changed(Parameters(), changes), Parameters)
    except ParameterError as error:
        assert error.field


async def test_a_picture_becomes_the_style_and_is_taken_away_again(page: Page, client: TestClient) -> None:
    data = cv2.imencode(".png", np.full((900, 700, 3), (0, 0, 250), np.uint8))[1].tobytes()
    response = await client.put("/api/style-picture", data=data)
    state = await response.json()
    assert state["parameters"]["style_picture"] is True
    assert "style_vector" not in state["parameters"]
    assert page.control.parameters.style_vector[:3] == (250.0, 0.0, 0.0)
    response = await client.patch("/api/parameters", json={"style_vector": None})
    assert (await response.json())["parameters"]["style_picture"] is False


async def test_what_is_no_picture_is_refused(page: Page, client: TestClient) -> None:
    for data in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(100), b"not a picture" * 100):
        response = await client.put("/api/style-picture", data=data)
        assert (response.status, (await response.json())["field"]) == (422, "style_image")
    response = await client.put("/api/style-picture", data=bytes(17 * 1024 * 1024))
    assert response.status == 413
    assert not page.engine.applied


async def test_a_picture_that_unpacks_to_gigabytes_is_refused(client: TestClient) -> None:
    wide = np.zeros((1, 1, 3), np.uint8)
    data = bytearray(cv2.imencode(".bmp", wide)[1].tobytes())
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    response = await client.put("/api/style-picture", data=bytes(data))
    assert response.status == 422


async def test_the_stream_skips_to_the_newest_picture(page: Page, client: TestClient) -> None:
    page.preview.show(result(1, 10))
    response = await client.get("/result.mjpeg")
    assert brightness(await next_jpeg(response)) == pytest.approx(10, abs=2)
    for sequence in range(2, 30):
        page.preview.show(result(sequence, sequence * 4))
    assert brightness(await next_jpeg(response)) == pytest.approx(29 * 4, abs=2)
    source = await client.get("/source.mjpeg")
    assert brightness(await next_jpeg(source)) == pytest.approx(255 - 29 * 4, abs=2)


async def next_jpeg(response: aiohttp.ClientResponse) -> bytes:
    async with asyncio.timeout(5):
        length = 0
        while (line := await response.content.readline()) != b"\r\n" or not length:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return await response.content.readexactly(length)


def brightness(jpeg: bytes) -> float:
    return float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean())


async def test_too_many_viewers_are_refused_and_their_places_are_free_again(client: TestClient) -> None:
    sockets = [await client.ws_connect("/api/events") for _ in range(VIEWERS)]
    assert (await client.get("/result.mjpeg")).status == 503
    await sockets.pop().close()
    async with asyncio.timeout(5):
        while (response := await client.get("/api/events")).status == 503:
            await asyncio.sleep(0.05)
    assert response.status == 400  # room again, though this is no WebSocket
    for socket in sockets:
        await socket.close()


async def test_changes_at_the_same_time_are_made_one_after_the_other(page: Page, client: TestClient) -> None:
    fields = [{"strength": 0.1}, {"freedom": 0.9}, {"steps": 5}, {"seed": 42}]
    await asyncio.gather(*(client.patch("/api/parameters", json=changes) for changes in fields))
    parameters = page.control.parameters
    assert (parameters.strength, parameters.freedom, parameters.steps, parameters.seed) == (0.1, 0.9, 5, 42)
    assert page.control.version == 5


async def test_styles_come_with_their_words(client: TestClient) -> None:
    styles = await (await client.get("/api/styles")).json()
    assert len(styles) >= 20
    assert {"name", "about", "picture"} == styles[0].keys()
