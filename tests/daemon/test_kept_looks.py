"""Looks that are kept for the whole stream: over HTTP, in presets, and by `driftcam ctl anchor`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from driftcam.engines.api.anchors import MAX_ANCHORS, anchor_of
from tests.daemon.conftest import ROOT
from tests.daemon.http_daemon import START, Daemon, daemon_in
from tests.daemon.test_serve import in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAINTING = ROOT / "tests" / "data" / "astronaut.jpg"


@pytest_asyncio.fixture(loop_scope="module")
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(tmp_path) as daemon:
        yield daemon


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Daemon) -> AsyncIterator[TestClient]:
    async with daemon.client() as client:
        yield client


def plain(bgr: tuple[int, int, int]) -> bytes:
    return cv2.imencode(".png", np.full((40, 60, 3), bgr, np.uint8))[1].tobytes()


async def test_what_is_shown_is_kept_with_its_picture(daemon: Daemon, client: TestClient) -> None:
    async with daemon.frames():
        state = await (await client.post("/api/anchors")).json()
        shown = cv2.imdecode(np.frombuffer(await (await client.get("/api/snapshot")).read(), np.uint8), 1)[..., ::-1]
    (anchor,) = state["parameters"]["anchors"]
    # The test pattern moves; its colours hardly change.
    assert anchor[:3] == pytest.approx(shown.mean((0, 1)) / 255, abs=0.03)
    (kept,) = await (await client.get("/api/anchors")).json()
    assert (kept["number"], kept["picture"], len(kept["colours"])) == (0, True, 3)
    picture = await client.get("/api/anchors/0/picture")
    assert picture.content_type == "image/jpeg"
    small = cv2.imdecode(np.frombuffer(await picture.read(), np.uint8), 1)[..., ::-1]
    assert np.abs(small.mean((0, 1)) - shown.mean((0, 1))).max() < 8


async def test_a_picture_of_ones_own_is_kept_and_dropped_and_a_preset_brings_it_back(client: TestClient) -> None:
    red, blue = (
        cv2.imencode(".png", np.full((40, 60, 3), colour, np.uint8))[1].tobytes()
        for colour in ((0, 0, 200), (200, 0, 0))
    )
    await client.post("/api/anchors", data=red)
    await client.post("/api/anchors", data=blue)
    await client.put("/api/presets/both")
    state = await (await client.delete("/api/anchors/0")).json()
    assert [round(number, 2) for number in state["parameters"]["anchors"][0][:3]] == [0, 0, 0.78]
    await client.delete("/api/anchors")
    assert await (await client.get("/api/anchors")).json() == []
    await client.post("/api/presets/both")
    kept = await (await client.get("/api/anchors")).json()
    assert [each["colours"][1] for each in kept] == ["#c80000", "#0000c8"]
    assert all(each["picture"] for each in kept), "they are remembered"


async def test_of_several_who_keep_a_look_at_once_none_is_lost(daemon: Daemon, client: TestClient) -> None:
    data = [plain((50 * k, 50 * k, 50 * k)) for k in range(MAX_ANCHORS + 1)]
    answers = await asyncio.gather(*(client.post("/api/anchors", data=each) for each in data))
    assert sorted(answer.status for answer in answers) == [200] * MAX_ANCHORS + [422]
    (refused,) = [await answer.json() for answer in answers if answer.status == 422]
    assert refused["field"] == "anchors" and "take one away first" in refused["message"]
    assert len(daemon.session.control.parameters.anchors) == MAX_ANCHORS


async def test_what_cannot_be_kept_is_refused_with_words(daemon: Daemon, client: TestClient) -> None:
    answer = await client.post("/api/anchors")
    assert answer.status == 409 and "no picture yet" in (await answer.json())["message"]
    for method, path, data, status, words in (
        ("POST", "/api/anchors", b"no picture", 422, "not a picture"),
        ("DELETE", "/api/anchors/0", None, 422, "no look is kept"),
        ("DELETE", "/api/anchors/x", None, 422, "give the number"),
        ("GET", "/api/anchors/7/picture", None, 422, "no look is kept"),
    ):
        answer = await client.request(method, path, data=data)
        assert answer.status == status and words in (await answer.json())["message"]
    answer = await client.patch("/api/parameters", json={"anchors": [[1.0]]})
    assert (answer.status, (await answer.json())["field"]) == (422, "anchors")
    async with daemon.frames():
        await client.put("/api/bypass", json={"on": True})
        answer = await client.post("/api/anchors")
        assert answer.status == 409 and "end the bypass" in (await answer.json())["message"]
    assert daemon.session.control.parameters == START


async def test_a_look_from_elsewhere_has_its_colours_but_no_picture(client: TestClient) -> None:
    anchor = anchor_of(cv2.imread(str(PAINTING)))
    await client.patch("/api/parameters", json={"anchors": [anchor]})
    (kept,) = await (await client.get("/api/anchors")).json()
    assert kept["picture"] is False
    answer = await client.get("/api/anchors/0/picture")
    assert answer.status == 404 and "no picture" in (await answer.json())["message"]


async def test_ctl_adds_lists_drops_and_clears(daemon: Daemon, client: TestClient) -> None:
    url = str(client.make_url("/"))

    async def ctl(*arguments: str) -> tuple[int, str, str]:
        said = await asyncio.to_thread(in_process, "ctl", "--url", url, "anchor", *arguments)
        return said.returncode, said.stdout, said.stderr

    assert await ctl("list") == (0, "", "no look is kept\n")
    status, out, _ = await ctl("add", str(PAINTING))
    assert status == 0 and out.startswith("0  #")
    assert len((await ctl("add", str(PAINTING)))[1].splitlines()) == 2
    assert len((await ctl("drop", "1"))[1].splitlines()) == 1
    assert (await ctl("clear"))[0] == 0 and not daemon.session.control.parameters.anchors
    for arguments, words in (
        (("drop",), "anchor drop NUMBER"),
        (("drop", "3"), "no look is kept"),
        (("add", "/none.jpg"), "cannot be read"),
        (("clear", "1"), "driftcam ctl anchor clear"),
    ):
        status, _, error = await ctl(*arguments)
        assert status == 2 and words in error and error.count("\n") == 1
