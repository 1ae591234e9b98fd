"""Undo and redo of changes of the look, whoever made them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.session.history import MOST, TOGETHER, History
from driftcam.engines.api import ParameterError, Parameters
from tests.daemon import standin
from tests.daemon.http_daemon import START, Daemon, daemon_in
from tests.daemon.test_serve import in_process


@pytest_asyncio.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(tmp_path) as daemon:
        yield daemon


@pytest_asyncio.fixture
async def client(daemon: Daemon) -> AsyncIterator[TestClient]:
    async with daemon.client() as client:
        yield client


def test_the_way_of_a_slider_is_one_step() -> None:
    history = History(Parameters(strength=0.1))
    for number in range(1, 20):
        history.note(Parameters(strength=0.1 + number / 40), now=number * 0.9 * TOGETHER)
    assert history.past == 1
    assert history.undo() == Parameters(strength=0.1)
    assert history.redo() == Parameters(strength=0.1 + 19 / 40)
    history.note(Parameters(strength=0.9), now=100)
    history.note(Parameters(strength=0.95), now=100 + 1.1 * TOGETHER)
    history.note(Parameters(strength=0.95, freedom=0.5), now=100 + 1.2 * TOGETHER)
    assert history.past == 4, "a pause, and another parameter, begin another step"


def test_a_change_after_an_undo_is_a_step_of_its_own_and_ends_the_redo() -> None:
    history = History(Parameters())
    history.note(Parameters(strength=0.3), now=0)
    history.undo()
    assert history.future == 1
    history.note(Parameters(strength=0.4), now=0.1)
    assert (history.past, history.future, history.redo()) == (1, 0, None)


def test_the_size_is_never_undone() -> None:
    history = History(Parameters())
    history.note(Parameters(strength=0.3), now=0)
    history.note(Parameters(strength=0.3, width=512, height=256), now=10)
    assert history.past == 1
    assert history.undo() == Parameters(width=512, height=256)


@given(st.lists(st.one_of(st.sampled_from(["undo", "redo"]), st.floats(0, 1)), max_size=60))
def test_it_agrees_with_lists(steps: list[str | float]) -> None:
    """Each change far from the one before."""
    history, looks, at = History(Parameters()), [Parameters()], 0
    for now, step in enumerate(steps):
        if step == "undo":
            assert history.undo() == (looks[at - 1] if at else None)
            at = max(0, at - 1)
        elif step == "redo":
            assert history.redo() == (looks[at + 1] if at + 1 < len(looks) else None)
            at = min(len(looks) - 1, at + 1)
        elif (look := Parameters(strength=step)) != looks[at]:
            history.note(look, now * 10.0)
            looks[at + 1 :] = [look]
            at += 1
        assert (history.past, history.future) == (at, len(looks) - 1 - at)


def test_it_does_not_grow_without_end() -> None:
    history = History(Parameters())
    for number in range(3 * MOST):
        history.note(Parameters(seed=number + 1), now=10.0 * number)
    assert history.past == MOST


async def test_changes_from_every_door_are_undone_in_turn(daemon: Daemon, client: TestClient) -> None:
    await client.patch("/api/parameters", json={"strength": 0.25})
    await client.put("/api/presets/quiet")
    await client.patch("/api/parameters", json={"styles": [["weave", 1.0]], "steps": 3})
    await daemon.session.control.change({"freedom": 0.5})  # as bus and OSC do
    state = await (await client.post("/api/presets/quiet")).json()
    assert (state["undo"], state["redo"], state["parameters"]["steps"]) == (4, 0, 1)
    for field, value in (("freedom", 0.5), ("steps", 3), ("strength", 0.25)):
        state = await (await client.post("/api/undo")).json()
        assert state["parameters"][field] == value
    assert await asyncio.to_thread(in_process, "ctl", "--url", str(client.make_url("/")), "undo")
    assert daemon.session.control.parameters == START
    for way, words in (("undo", "nothing was changed"), ("redo", "")):
        answer = await client.post(f"/api/{way}")
        if words:
            assert answer.status == 409 and words in (await answer.json())["message"]
    assert daemon.session.control.parameters.strength == 0.25


async def test_a_look_that_the_engine_refuses_now_leaves_everything_as_it_was(daemon: Daemon) -> None:
    control = daemon.session.control
    control.history.note(START.replace(seed=standin.REFUSED), 0.0)  # it could do that once
    await control.change({"strength": 0.3})
    with pytest.raises(ParameterError, match="does not like it"):
        await control.undo()
    assert (control.history.past, control.history.future, control.parameters.strength) == (2, 0, 0.3)
