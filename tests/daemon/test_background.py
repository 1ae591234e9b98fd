"""No work in the background ends on a mistake without a word: it is logged, told of, and goes on or is replaced."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from driftcam.daemon import background
from driftcam.daemon.bus.peer import BusPeer
from driftcam.daemon.bus.server import BusServer
from driftcam.daemon.engine.state import EngineState
from driftcam.daemon.frames import Picture
from driftcam.daemon.pictures import read_picture
from driftcam.daemon.service.metrics import Metrics
from driftcam.daemon.service.pulse import Pulse
from driftcam.daemon.service.systemd import Systemd
from driftcam.daemon.session import retry
from driftcam.daemon.session.retry import Retrying, RetryingStyle
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.errors import ParameterError
from tests.daemon.conftest import ROOT
from tests.daemon.http_daemon import Daemon, daemon_in, until

AWAITED = {  # the tasks that somebody waits for, who raises what they raise
    "daemon/background.py": 2,
    "daemon/commands/serve.py": 2,
    "daemon/engine/process.py": 1,  # the reader, which tells of every end
    "daemon/engine/supervisor.py": 2,  # their ends are looked at as the engine's is
    "daemon/run.py": 5,
    "daemon/session/core.py": 1,
    "daemon/session/retry.py": 1,  # catches everything
    "daemon/session/session.py": 1,  # of a session that is not live
}


def test_every_task_of_the_daemon_is_one_that_tells_of_its_end() -> None:
    found = {}
    for path in sorted((ROOT / "daemon").rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = [func.attr for func in calls if isinstance(func, ast.Attribute)]
        if count := names.count("create_task") + names.count("ensure_future"):
            found[path.relative_to(ROOT).as_posix()] = count
    assert found == AWAITED, "use driftcam.daemon.background, or say here who waits for it"


async def test_what_is_kept_begins_anew_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "AGAIN_FIRST", 0.0)
    tries = []

    async def work() -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            raise TypeError("a mistake")

    await background.keep(work, "some work")
    assert len(tries) == 3
    assert [record.exc_info[0] for record in caplog.records if "some work failed" in record.message] == [TypeError] * 2  # type: ignore[index]


async def test_what_is_started_says_why_it_failed_and_is_silent_when_it_is_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = []

    async def work() -> None:
        raise TypeError("a mistake")

    failed = background.start(work(), "some work", lambda: told.append(1))
    cancelled = background.start(asyncio.sleep(9), "other work", lambda: told.append(2))
    cancelled.cancel()
    await asyncio.wait([failed, cancelled])
    await asyncio.sleep(0)
    assert told == [1] and "some work failed" in caplog.text and "other work" not in caplog.text


@pytest_asyncio.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    monkeypatch.setattr(background, "AGAIN_FIRST", 0.05)
    monkeypatch.setattr(retry, "RETRY_FIRST", 0.05)
    async with daemon_in(tmp_path) as daemon:
        yield daemon


class Mistaken:
    """A sink with a mistake in it."""

    name = "mistaken"

    async def room(self) -> None:
        return

    def offer(self, result: object) -> bool:
        raise TypeError("a mistake")

    async def close(self) -> None:
        return


async def test_a_sink_with_a_mistake_is_left_out_and_the_others_go_on(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.session.add_sink(Mistaken())
    async with daemon.frames():
        delivered = daemon.session.delivered
        await until(lambda: daemon.session.delivered > delivered + 5)
    assert daemon.session.sinks == ()
    assert any(line.startswith("mistaken: ") and "the stream goes on without it" in line for line in daemon.lines)
    assert "a mistake" in caplog.text


async def test_a_listener_with_a_mistake_stops_nothing_for_good(daemon: Daemon) -> None:
    mistakes = []

    def listener(result: object) -> None:
        if len(mistakes) < 2:
            mistakes.append(result)
            raise TypeError("a mistake")

    daemon.session.listen(listener)
    async with daemon.frames():
        delivered = daemon.session.delivered
        await until(lambda: daemon.session.delivered > delivered + 8)
    assert len(mistakes) == 2


async def test_a_frame_that_cannot_be_fitted_gives_its_slot_back_and_the_next_is_taken(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    with daemon.session.ingest.claim("test") as lease:
        now = time.monotonic_ns()
        lease.offer(Picture(np.zeros((48, 96, 7), np.uint8), now, now), released.set)  # no picture at all
        await until(released.is_set)
        await until(lambda: "fitting frames failed" in caplog.text)
        lease.offer(Picture(np.full((48, 96, 3), 40, np.uint8), now + 1, now + 1))
        await until(lambda: daemon.session.delivered > 0)


async def test_a_source_or_sink_with_a_mistake_is_told_of_once_and_tried_again(daemon: Daemon) -> None:
    tries = []

    class Trying(Retrying):
        async def _use(self) -> None:
            tries.append(1)
            if len(tries) < 3:
                raise TypeError("a mistake")
            await asyncio.Event().wait()

    trying = Trying("something", daemon.core.notify)
    await until(lambda: len(tries) == 3)
    (told,) = [line for line in daemon.lines if line.startswith("something: ")]
    assert "TypeError('a mistake')" in told and "its log says more" in told
    await trying.close()


async def test_the_pulse_goes_on_after_a_mistake(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from driftcam.daemon.service import pulse as module

    monkeypatch.setattr(module, "EVERY", 0.02)
    beats = []

    class Faulty(Metrics):
        def follow(self) -> None:
            beats.append(1)
            if len(beats) == 1:
                raise KeyError("gone")

    pulse = Pulse(daemon.core, Faulty(daemon.core), Systemd({}))
    pulse.start()
    await until(lambda: len(beats) > 3)
    await pulse.close()


async def test_an_engine_that_is_not_asked_any_more_is_replaced(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The heartbeat's own mistake: without it nobody would notice that an engine hangs."""
    supervisor = daemon.core.supervisor
    asking = supervisor._ask_how_it_is
    failed = []

    async def failing(link: Any) -> None:
        if not failed:
            failed.append(1)
            raise TypeError("a mistake")
        await asking(link)

    monkeypatch.setattr(supervisor, "_ask_how_it_is", failing)
    supervisor.restart()
    await until(lambda: supervisor.restarts >= 2 and supervisor.state is EngineState.READY)
    assert "a mistake" in caplog.text and failed == [1]
    async with daemon.frames():
        assert daemon.session.delivered > 0


async def test_an_answer_that_nobody_can_read_ends_the_engine_and_another_one_comes(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    from driftcam.daemon.engine.process import EngineProcess

    receive, failed = EngineProcess._receive, []

    def failing(self: EngineProcess, message: Any) -> None:
        if not failed:
            failed.append(1)
            raise TypeError("a mistake")
        receive(self, message)

    supervisor = daemon.core.supervisor
    monkeypatch.setattr(EngineProcess, "_receive", failing)
    await until(lambda: supervisor.restarts >= 1 and supervisor.state is EngineState.READY)
    async with daemon.frames():
        assert daemon.session.delivered > 0


async def test_a_request_over_the_bus_that_fails_is_answered(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(self: BusPeer, message: Any) -> dict:
        raise TypeError("a mistake")

    server = BusServer(daemon.core.sessions)
    path = server.start(tmp_path)
    monkeypatch.setattr(BusPeer, "_do", failing)

    def ask() -> None:
        with BusClient("sink", path=path) as client, pytest.raises(Exception, match="its log says more"):
            client.change(strength=0.5)

    await asyncio.to_thread(ask)
    await server.close()


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (40_000, 1), (1, 1)])
async def test_a_style_picture_of_any_shape_is_used(daemon: Daemon, tmp_path: Path, size: tuple[int, int]) -> None:
    import cv2

    path = tmp_path / "thin.png"
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))
    assert min(read_picture(path).shape[:2]) >= 1
    style = RetryingStyle(path, daemon.session, daemon.core.notify)
    await until(lambda: daemon.session.control.parameters.style_vector is not None or daemon.lines)
    assert daemon.lines == []
    await style.close()
    with contextlib.suppress(ParameterError):
        await daemon.session.control.set_plane("style_picture", None)


def test_log_lines_of_the_background_are_in_the_daemons_log() -> None:
    assert background.log is logging.getLogger("driftcam")
