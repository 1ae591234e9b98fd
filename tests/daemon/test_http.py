"""The API as browsers and programs meet it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from driftcam.daemon.frames import Picture, Result
from tests.daemon import standin
from tests.daemon.conftest import read_clip
from tests.daemon.http_daemon import START, Daemon, daemon_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    async with daemon_in(tmp_path_factory.mktemp("http")) as daemon:
        yield daemon


@pytest_asyncio.fixture(loop_scope="module")
async def daemon(running: Daemon) -> Daemon:
    """With the parameters of the start."""
    values = START.to_dict()
    if running.session.control.parameters != START:
        await running.session.control.change(values)
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Daemon) -> AsyncIterator[TestClient]:
    async with daemon.client() as client:
        yield client


def result(sequence: int, brightness: int = 100) -> Result:
    image = np.full((32, 48, 3), brightness, np.uint8)
    return Result(image, Picture(255 - image, sequence, 0), sequence, False, 1.0, 0)


async def test_the_page_and_its_files_are_served_with_a_strict_policy(client: TestClient) -> None:
    for path, kind in {"/": "text/html", "/js/main.js": "javascript", "/css/base.css": "text/css"}.items():
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


@pytest.mark.serial
async def test_a_change_is_applied_and_told_to_everybody(daemon: Daemon, client: TestClient) -> None:
    async with client.ws_connect("/api/events") as other:
        first = await other.receive_json()
        assert first["engine"] == "ready"
        changes = {"strength": 0.4, "styles": [["inferno", 1], ["weave", 3]]}
        response = await client.patch("/api/parameters", json=changes)
        assert response.status == 200
        start = time.monotonic()
        news = await other.receive_json()
        assert time.monotonic() - start < 0.4, "at once, not with the next half second"
    assert news["version"] == first["version"] + 1
    assert news["parameters"]["strength"] == 0.4
    assert news["parameters"]["styles"] == [["inferno", 0.25], ["weave", 0.75]]
    assert daemon.session.control.parameters.strength == 0.4


async def test_words_become_styles(daemon: Daemon, client: TestClient) -> None:
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
        ({"negative_prompt": "fog"}, "negative_prompt"),
        ({"fit": "crop"}, "fit"),
        ({"travel": 61}, "travel"),
        ({"prompt": 5}, "prompt"),
        ({"style_vector": [0.0] * 100}, "style_vector"),
        ({"seed": standin.REFUSED}, "seed"),
        ({"guidance": []}, "guidance"),
        ([], "changes"),
        ("strength", "changes"),
        ({}, "changes"),
    ],
)
async def test_a_bad_change_names_its_field_and_changes_nothing(
    daemon: Daemon, client: TestClient, changes: object, field: str
) -> None:
    response = await client.patch("/api/parameters", json=changes)
    answer = await response.json()
    assert (response.status, answer["field"]) == (422, field)
    assert field in answer["message"]
    assert daemon.session.control.parameters == START


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\x00", b"[" * 5000])
async def test_a_body_that_is_no_json_is_refused(client: TestClient, body: bytes) -> None:
    response = await client.patch("/api/parameters", data=body)
    assert (response.status, (await response.json())["field"]) == (422, "body")


async def test_a_picture_becomes_the_style_and_is_taken_away_again(daemon: Daemon, client: TestClient) -> None:
    data = cv2.imencode(".png", np.full((900, 700, 3), (0, 0, 250), np.uint8))[1].tobytes()
    response = await client.put("/api/style-picture", data=data)
    state = await response.json()
    assert state["parameters"]["style_picture"] is True
    assert "style_vector" not in state["parameters"]
    assert daemon.session.control.parameters.style_vector[:3] == (250.0, 0.0, 0.0)
    response = await client.patch("/api/parameters", json={"style_vector": None})
    assert (await response.json())["parameters"]["style_picture"] is False


async def test_a_style_picture_may_come_before_the_engine(daemon: Daemon, client: TestClient) -> None:
    data = cv2.imencode(".png", np.full((40, 40, 3), (0, 0, 250), np.uint8))[1].tobytes()
    engine = daemon.core.supervisor.pid
    assert engine is not None
    os.kill(engine, signal.SIGSTOP)  # it takes no session up meanwhile
    try:
        session = daemon.core.sessions.open("early", START)
        response = await client.put("/api/style-picture?session=early", data=data)
    finally:
        os.kill(engine, signal.SIGCONT)
    assert (response.status, (await response.json())["parameters"]["style_picture"]) == (200, False)
    await until(lambda: session.control.parameters.style_vector is not None)
    assert session.control.parameters.style_vector[:3] == (250.0, 0.0, 0.0)
    await daemon.core.sessions.close("early")


async def test_a_session_plane_is_given_and_taken_away(daemon: Daemon, client: TestClient) -> None:
    data = cv2.imencode(".png", np.full((900, 700, 3), (0, 0, 250), np.uint8))[1].tobytes()
    response = await client.put("/api/planes/style_picture", data=data)
    assert (await response.json())["parameters"]["style_picture"] is True
    assert daemon.session.control.parameters.style_vector[:3] == (250.0, 0.0, 0.0)
    planes = {plane["name"]: plane for plane in await (await client.get("/api/planes")).json()}
    assert (planes["style_picture"]["lifetime"], planes["style_picture"]["read"]) == ("session", True)
    assert (planes["control"]["lifetime"], planes["control"]["read"]) == ("frame", False)
    response = await client.delete("/api/planes/style_picture")
    assert (await response.json())["parameters"]["style_picture"] is False


@pytest.mark.parametrize(
    ("path", "data", "field", "words"),
    [
        ("style_picture", b"no picture", "style_picture", "not a picture"),
        ("mask", b"", "plane", "belongs to a frame"),
        ("nonsense", b"", "plane", "choose from: style_picture"),
    ],
)
async def test_what_is_no_session_plane_is_refused(
    client: TestClient, path: str, data: bytes, field: str, words: str
) -> None:
    response = await client.put(f"/api/planes/{path}", data=data)
    error = await response.json()
    assert (response.status, error["field"]) == (422, field)
    assert words in error["message"]


async def test_what_is_no_picture_is_refused(daemon: Daemon, client: TestClient) -> None:
    for data in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(100), b"not a picture" * 100):
        response = await client.put("/api/style-picture", data=data)
        assert (response.status, (await response.json())["field"]) == (422, "style_image")
    response = await client.put("/api/style-picture", data=bytes(17 * 1024 * 1024))
    assert response.status == 413
    assert daemon.session.control.parameters == START


async def test_a_picture_that_unpacks_to_gigabytes_is_refused(client: TestClient) -> None:
    wide = np.zeros((1, 1, 3), np.uint8)
    data = bytearray(cv2.imencode(".bmp", wide)[1].tobytes())
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    response = await client.put("/api/style-picture", data=bytes(data))
    assert response.status == 422


async def test_the_stream_skips_to_the_newest_picture(daemon: Daemon, client: TestClient) -> None:
    preview = daemon.context.preview(daemon.session)
    preview.show(result(1001, 10))
    response = await client.get("/result.mjpeg")
    assert brightness(await next_jpeg(response)) == pytest.approx(10, abs=2)
    for sequence in range(2, 30):
        preview.show(result(1000 + sequence, sequence * 4))
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


async def test_too_many_viewers_are_refused_and_their_places_are_free_again(daemon: Daemon) -> None:
    async with daemon.client(viewers=3) as client:
        sockets = [await client.ws_connect("/api/events") for _ in range(3)]
        response = await client.get("/result.mjpeg")
        assert (response.status, "Retry-After" in response.headers) == (503, True)
        await sockets.pop().close()
        async with asyncio.timeout(5):
            while (response := await client.get("/result.mjpeg")).status == 503:
                await asyncio.sleep(0.05)
        assert response.status == 200
        response.close()
        for socket in sockets:
            await socket.close()


async def test_viewers_of_a_session_that_ends_are_let_go(daemon: Daemon, client: TestClient) -> None:
    session = daemon.core.sessions.open("guest", START)
    await session.opened()
    pictures = await client.get("/result.mjpeg?session=guest")
    socket = await client.ws_connect("/api/events?session=guest")
    assert (await socket.receive_json())["session"] == "guest"
    await daemon.core.sessions.close("guest")
    async with asyncio.timeout(10):
        await pictures.read()
        async for _ in socket:
            pass
    assert (await client.get("/api/state?session=guest")).status == 404
    await until(lambda: daemon.context.viewers.taken == 0)


async def test_sessions_do_not_share_their_parameters(daemon: Daemon, client: TestClient) -> None:
    await daemon.core.sessions.open("guest", START).opened()
    await client.patch("/api/parameters?session=guest", json={"strength": 0.2})
    states = {state["session"]: state for state in await (await client.get("/api/sessions")).json()}
    assert states["guest"]["parameters"]["strength"] == 0.2
    assert states["live"]["parameters"]["strength"] == START.strength
    await daemon.core.sessions.close("guest")


async def test_changes_at_the_same_time_are_made_one_after_the_other(daemon: Daemon, client: TestClient) -> None:
    before = daemon.session.control.version
    fields = [{"strength": 0.1}, {"freedom": 0.9}, {"steps": 5}, {"seed": 42}]
    await asyncio.gather(*(client.patch("/api/parameters", json=changes) for changes in fields))
    parameters = daemon.session.control.parameters
    assert (parameters.strength, parameters.freedom, parameters.steps, parameters.seed) == (0.1, 0.9, 5, 42)
    assert daemon.session.control.version == before + 4


async def test_presets_are_saved_used_and_deleted(daemon: Daemon, client: TestClient) -> None:
    await client.patch("/api/parameters", json={"strength": 0.25, "styles": [["dusk", 1]]})
    assert (await client.put("/api/presets/late night")).status == 204
    await client.patch("/api/parameters", json={"strength": 0.9, "width": 256, "styles": [["weave", 1]]})
    (daemon.folder / "presets" / "bad.json").write_text("{")
    listed = await (await client.get("/api/presets")).json()
    assert listed["names"] == ["late night"]
    assert "bad.json" in listed["damaged"][0]
    state = await (await client.post("/api/presets/late night")).json()
    used = state["parameters"]
    assert (used["strength"], used["styles"], used["width"]) == (0.25, [["dusk", 1.0]], 256)
    assert (await (await client.get("/api/presets/late night")).json())["strength"] == 0.25
    assert (await client.post("/api/presets/bad")).status == 422
    assert (await client.delete("/api/presets/bad")).status == 204
    assert (await client.delete("/api/presets/late night")).status == 204
    assert (await client.post("/api/presets/late night")).status == 404


async def test_a_preset_is_gone_to_in_a_given_time_which_is_of_that_change_alone(
    daemon: Daemon, client: TestClient
) -> None:
    await client.patch("/api/parameters", json={"strength": 0.25, "travel": 0})
    assert (await client.put("/api/presets/slow")).status == 204
    used = (await (await client.post("/api/presets/slow?travel=2.5")).json())["parameters"]
    assert (used["strength"], used["travel"]) == (0.25, 0)
    for travel in ("61", "-1", "nan", "soon", ""):
        refused = await client.post(f"/api/presets/slow?travel={travel}")
        answer = await refused.json()
        assert (refused.status, answer["field"]) == (422, "travel") and repr(travel)[1:-1] in answer["message"]
    assert (await client.delete("/api/presets/slow")).status == 204


@pytest.mark.parametrize("name", ["..%2Fx", "%2Fetc%2Fpasswd", ".hidden", "%00", "a%0Ab", "x" * 65])
async def test_a_preset_stays_in_its_folder(daemon: Daemon, client: TestClient, name: str) -> None:
    for method in ("PUT", "POST", "GET", "DELETE"):
        response = await client.request(method, f"/api/presets/{name}")
        assert response.status in (404, 422), await response.text()
    assert not list(daemon.folder.rglob(".hidden*"))


async def test_a_snapshot_is_the_newest_picture(daemon: Daemon, client: TestClient) -> None:
    for kind in ("png", "jpg"):
        daemon.context.preview(daemon.session).show(result(5000, 77))
        response = await client.get(f"/api/snapshot?format={kind}&side=result")
        assert response.content_type == f"image/{'jpeg' if kind == 'jpg' else 'png'}"
        assert brightness(await response.read()) == pytest.approx(77, abs=2)
    assert (await client.get("/api/snapshot?format=gif")).status == 422


async def test_without_a_picture_there_is_no_snapshot(daemon: Daemon, client: TestClient) -> None:
    await daemon.core.sessions.open("empty", START).opened()
    response = await client.get("/api/snapshot?session=empty")
    assert (response.status, "source" in (await response.json())["message"]) == (409, True)
    await daemon.core.sessions.close("empty")


async def test_a_recording_is_started_watched_and_stopped(daemon: Daemon, client: TestClient) -> None:
    assert (await client.delete("/api/recording")).status == 409
    async with daemon.frames():
        response = await client.post("/api/recording")
        path = Path((await response.json())["path"])
        assert response.status == 201
        assert (await client.post("/api/recording")).status == 409, "one at a time"
        async with asyncio.timeout(30):
            while (await (await client.get("/api/recording")).json())["frames"] < 5:
                await asyncio.sleep(0.05)
        assert (await (await client.get("/api/state")).json())["recording"]["path"] == str(path)
        stopped = await (await client.delete("/api/recording")).json()
    assert len(read_clip(path)) == stopped["frames"] >= 5
    assert await (await client.get("/api/recording")).json() is None


async def test_a_folder_that_cannot_be_made_is_told(daemon: Daemon, client: TestClient) -> None:
    folder = daemon.context.recordings.folder
    (daemon.folder / "file").touch()
    daemon.context.recordings.folder = daemon.folder / "file" / "x"
    response = await client.post("/api/recording")
    assert (response.status, (await response.json())["field"]) == (422, "recording")
    daemon.context.recordings.folder = folder


async def test_the_engine_is_started_again_when_somebody_asks(daemon: Daemon, client: TestClient) -> None:
    before = await (await client.get("/api/engine")).json()
    assert before["state"] == "ready"
    assert (await client.post("/api/engine/restart")).status == 202
    await until(lambda: daemon.core.supervisor.restarts > before["restarts"])
    await until(lambda: daemon.session.statistics()["engine"] == "ready")
    after = await (await client.get("/api/engine")).json()
    assert after["pid"] not in (before["pid"], None)


async def test_the_newest_lines_of_the_log_are_there(daemon: Daemon, client: TestClient) -> None:
    logger = logging.getLogger("test.driftcam.http")
    logger.propagate = False
    logger.addHandler(daemon.context.recent)
    logger.setLevel("DEBUG")
    for number in range(5):
        logger.debug("line %d", number)
    logger.error("a bad one")
    lines = await (await client.get("/api/logs?lines=3")).json()
    assert [line["text"] for line in lines] == ["line 3", "line 4", "a bad one"]
    assert [line["text"] for line in await (await client.get("/api/logs?level=warning")).json()] == ["a bad one"]
    for query in ("lines=0", "lines=x", "lines=99999999999", "level=loud"):
        assert (await client.get(f"/api/logs?{query}")).status == 422


async def test_readiness_tells_the_reason(daemon: Daemon, client: TestClient) -> None:
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    daemon.context.unready = lambda: "the engine is starting"
    response = await client.get("/readyz")
    assert (response.status, (await response.json())["reason"]) == (503, "the engine is starting")
    daemon.context.unready = lambda: ""


async def test_styles_come_with_their_words(client: TestClient) -> None:
    styles = await (await client.get("/api/styles")).json()
    assert len(styles) >= 20
    assert {"name", "about", "picture"} == styles[0].keys()
