"""Several sessions in one engine process, and what happens to them when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from driftcam.daemon.admission import Limits
from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.engine.state import EngineState
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.placeholder import placeholder
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.session import Session
from driftcam.engines.api import ParameterError, Parameters
from tests.daemon import standin
from tests.daemon.conftest import IMPATIENT

SIZE = (96, 64)
PARAMETERS = Parameters(width=SIZE[0], height=SIZE[1])


class Viewer:
    """A sink that keeps what it was shown last."""

    def __init__(self) -> None:
        self.name = "viewer"
        self.results: list[Result] = []
        self.placeholders: list[np.ndarray] = []

    async def room(self) -> None: ...

    def offer(self, result: Result) -> bool:
        self.results.append(result)
        return True

    def show_placeholder(self, image: np.ndarray) -> None:
        self.placeholders.append(image)

    async def close(self) -> None: ...


class Fed:
    """A session with a source of its own, grey of one brightness, and a viewer."""

    def __init__(self, core: Core, name: str, grey: int, parameters: Parameters = PARAMETERS) -> None:
        self.session, self.grey, self.viewer = core.sessions.open(name, parameters), grey, Viewer()
        self.session.add_sink(self.viewer)
        self._lease = self.session.ingest.claim("test")
        self._task = asyncio.create_task(self._feed())

    async def _feed(self) -> None:
        while True:
            parameters = self.session.control.parameters
            image = np.full((parameters.height, parameters.width, 3), self.grey, np.uint8)
            now = time.monotonic_ns()
            self._lease.offer(Picture(image, now, now))
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        self._task.cancel()

    async def more(self, count: int = 5) -> None:
        """Until so many further results came; every one is the session's own."""
        seen = len(self.viewer.results)
        await until(lambda: len(self.viewer.results) >= seen + count)
        for result in self.viewer.results[seen:]:
            assert (result.image == 255 - self.grey).all(), f"{self.session.name} was shown another's picture"


async def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


def engine_pid(core: Core) -> int:
    assert core.supervisor.pid is not None
    return core.supervisor.pid


@contextlib.asynccontextmanager
async def running(command: list[str] | None = None, **timeouts: float) -> AsyncIterator[tuple[Core, list[str]]]:
    lines: list[str] = []
    changed = dataclasses.replace(IMPATIENT, **timeouts)
    core = Core(command or worker_command(standin.NAME), notify=lines.append, timeouts=changed)
    try:
        yield core, lines
    finally:
        for task in asyncio.all_tasks():
            if getattr(task.get_coro(), "__name__", "") == "_feed":
                task.cancel()
        await core.close()


async def test_sessions_share_a_process_and_nothing_else() -> None:
    async with running() as (core, _):
        parts = [Fed(core, f"s{n}", 40 * n, PARAMETERS.replace(width=64 + 32 * n)) for n in range(3)]
        for part in parts:
            await part.more()
        pid = engine_pid(core)
        await parts[1].session.control.change({"strength": 0.5, "width": 256})
        assert [part.session.control.parameters.strength for part in parts] == [
            PARAMETERS.strength,
            0.5,
            PARAMETERS.strength,
        ]
        await until(lambda: parts[1].viewer.results[-1].image.shape[1] == 256)
        for part in parts:
            await part.more()
        assert parts[0].viewer.results[-1].image.shape[1] == 64
        await core.sessions.close("s1")
        await parts[0].more()
        assert len(core.supervisor.streams) == 2
        assert (engine_pid(core), core.supervisor.restarts) == (pid, 0)


async def test_all_sessions_return_after_a_kill_with_their_parameters_as_changed() -> None:
    async with running() as (core, _):
        parts = [Fed(core, f"s{n}", 50 * n) for n in range(3)]
        for number, part in enumerate(parts):
            await part.more()
            await part.session.control.change({"strength": number / 4})
            await part.more(30)
        os.kill(engine_pid(core), signal.SIGKILL)
        await until(lambda: core.supervisor.restarts == 1)
        for part in parts:
            await part.more()
        assert [part.session.control.parameters.strength for part in parts] == [0.0, 0.25, 0.5]
        assert core.supervisor.state is EngineState.READY


async def test_an_engine_that_hangs_with_nothing_to_do_is_noticed() -> None:
    async with running(answer=1.0, heartbeat=0.1) as (core, lines):
        session = core.sessions.open("idle", PARAMETERS)
        await session.opened()
        pid = engine_pid(core)
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: any("said nothing" in line for line in lines))
        await until(lambda: core.supervisor.state is EngineState.READY)
        assert engine_pid(core) != pid


async def test_an_engine_that_is_stopped_while_it_starts_is_replaced() -> None:
    """Long before the time that a start may take."""
    async with running(start=300) as (core, lines):
        await until(lambda: core.supervisor.pid is not None)
        pid = engine_pid(core)
        os.kill(pid, signal.SIGSTOP)
        fed = Fed(core, "one", 30)
        await fed.more()
        assert engine_pid(core) != pid
        assert any("was stopped" in line for line in lines), lines


async def test_a_session_that_kills_every_engine_is_left_out_and_the_others_go_on() -> None:
    async with running(tries=3) as (core, lines):
        good = Fed(core, "good", 30)
        await good.more()
        bad = Fed(core, "bad", 60, PARAMETERS.replace(seed=standin.DIES))
        await until(lambda: bad.session.statistics()["engine"] == EngineState.BROKEN, timeout=60)
        assert any(line.startswith("bad: the engine ended 3 times in a row") for line in lines)
        await good.more(30)
        assert good.session.statistics()["engine"] == EngineState.READY
        await until(lambda: bool(bad.viewer.placeholders))
        assert not bad.viewer.results
        await bad.session.control.change({"seed": 1})  # other parameters: it is tried again
        await bad.more()
        await good.more()


async def test_only_the_session_that_changed_goes_back() -> None:
    async with running() as (core, lines):
        first, second = Fed(core, "first", 30), Fed(core, "second", 60)
        for part in (first, second):
            await part.more(30)
            await part.session.control.change({"strength": 0.5})
            await part.more(30)
        await second.session.control.change({"seed": standin.DIES})
        await until(lambda: any("going back" in line for line in lines), timeout=60)
        await second.more()
        await first.more()
        assert (second.session.control.parameters.seed, second.session.control.parameters.strength) == (0, 0.5)
        assert first.session.control.parameters.strength == 0.5


async def test_a_refusal_concerns_one_session() -> None:
    async with running() as (core, _):
        first, second = Fed(core, "first", 30), Fed(core, "second", 60)
        await first.more()
        with pytest.raises(ParameterError, match="does not like it"):
            await second.session.control.change({"seed": standin.REFUSED})
        await second.more()
        assert core.supervisor.restarts == 0


def command_that_fails_while(flag: Path) -> list[str]:
    code = (
        "import os, sys\n"
        f"if os.path.exists({str(flag)!r}): sys.exit('the driver is missing')\n"
        f"os.execv(sys.executable, [sys.executable, *{worker_command(standin.NAME)[1:]!r}, *sys.argv[1:]])\n"
    )
    return [sys.executable, "-c", code]


async def test_an_engine_that_never_comes_up_is_broken_until_somebody_restarts_it(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    async with running(command_that_fails_while(flag), tries=3, rest=600) as (core, lines):
        fed = Fed(core, "one", 30)
        await until(lambda: core.supervisor.state is EngineState.BROKEN)
        assert "the driver is missing" in fed.session.statistics()["reason"]
        assert any("3 times in a row" in line for line in lines)
        await until(lambda: bool(fed.viewer.placeholders) and "broken" in fed.session.trouble)
        flag.unlink()
        core.supervisor.restart()
        await fed.more()
        assert core.supervisor.state is EngineState.READY
        assert fed.session.statistics()["reason"] == ""


async def test_a_broken_engine_is_tried_again_after_a_rest(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    async with running(command_that_fails_while(flag), tries=2, rest=0.3) as (core, _):
        fed = Fed(core, "one", 30)
        await until(lambda: core.supervisor.state is EngineState.BROKEN)
        flag.unlink()
        await fed.more()


async def test_asking_for_a_restart_blames_nobody() -> None:
    async with running() as (core, lines):
        fed = Fed(core, "one", 30)
        for number in range(1, 4):
            await fed.more(2)
            await fed.session.control.change({"seed": number})
            core.supervisor.restart()
            await until(lambda wanted=number: core.supervisor.restarts == wanted)
        await fed.more()
        assert fed.session.control.parameters.seed == 3
        assert not any("going back" in line for line in lines)


async def test_an_engine_without_memory_says_so() -> None:
    async with running() as (core, lines):
        fed = Fed(core, "one", 30)
        await fed.more(30)
        await fed.session.control.change({"seed": standin.HUNGRY})
        await until(lambda: any("out of memory; choose a smaller size" in line for line in lines))
        await fed.more()  # with the settings before
        assert fed.session.control.parameters.seed == 0


async def test_a_viewer_keeps_the_last_picture_and_then_reads_what_is_wrong(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    async with running(command_that_fails_while(flag), backoff=1.0, backoff_most=60, tries=9) as (core, _):
        fed = Fed(core, "one", 30)
        session, viewer = fed.session, fed.viewer
        await fed.more()
        flag.touch()
        os.kill(engine_pid(core), signal.SIGKILL)
        last = time.monotonic()
        await until(lambda: bool(viewer.placeholders) and "driver is missing" in session.trouble)
        assert time.monotonic() - last > 1.5, "the last picture was not kept"
        shown = len(viewer.placeholders)
        await until(lambda: len(viewer.placeholders) > shown)
        np.testing.assert_array_equal(viewer.placeholders[-1], placeholder(*SIZE, session.trouble))
        flag.unlink()
        core.supervisor.restart()
        await fed.more()
        await until(lambda: session.trouble == "")


async def test_a_session_without_a_source_says_that_it_waits_for_one() -> None:
    async with running() as (core, _):
        session: Session = core.sessions.open("one", PARAMETERS)
        viewer = Viewer()
        session.add_sink(viewer)
        await until(lambda: session.trouble == "Waiting for a source" and bool(viewer.placeholders))
        with session.ingest.let_in("a camera"):
            await until(lambda: session.trouble == "No picture comes from a camera")


async def test_names_are_checked_and_taken_once() -> None:
    async with running() as (core, _):
        core.sessions.open("one", PARAMETERS)
        for name in ("one", "", "a b", "x" * 33, "é", "../x"):
            with pytest.raises(ParameterError, match="session"):
                core.sessions.open(name, PARAMETERS)
        await core.sessions.close("one")
        await core.sessions.close("one")
        core.sessions.open("one", PARAMETERS)


async def test_a_session_too_many_is_refused_with_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_DELAY_MS", "60")
    core = Core(worker_command(standin.NAME), notify=print, timeouts=IMPATIENT, limits=Limits(least_fps=6))
    try:
        first = Fed(core, "one", 30)
        await first.more()
        second = Fed(core, "two", 30)
        await second.more()
        with pytest.raises(ParameterError, match=r"each of 3 sessions would get 5\.\d a second.*choose a smaller size"):
            core.sessions.open("three", PARAMETERS)
        second.stop()
        await core.sessions.close("two")
        core.sessions.open("three", PARAMETERS)
    finally:
        first.stop()
        await core.close()


async def test_engines_after_the_first_are_forked_and_end_as_any() -> None:
    async with running(spare=0.1) as (core, lines):
        fed = Fed(core, "one", 30)
        await fed.more()
        server = await fork_server_of(core)
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGKILL):
            first = engine_pid(core)
            os.kill(first, number)
            await until(lambda gone=first: core.supervisor.pid not in (gone, None))
            assert parent_of(engine_pid(core)) == server
            await fed.more()
        assert any("crashed with SIGSEGV" in line for line in lines)
        await fed.session.control.change({"seed": standin.RAISES})
        await until(lambda: any("made the engine stumble" in line for line in lines))  # told by the child itself
        await fed.more()
        processes = [engine_pid(core), server]
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes), "a process was left behind"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_its_fork_server_an_engine_starts_as_usual_and_another_one_comes(number: signal.Signals) -> None:
    async with running(spare=0.1) as (core, _):
        fed = Fed(core, "one", 30)
        await fed.more()
        server = await fork_server_of(core)
        os.kill(server, number)
        os.kill(engine_pid(core), signal.SIGKILL)
        await until(lambda: core.supervisor.restarts == 1)
        await fed.more()
        assert parent_of(engine_pid(core)) == os.getpid()
        assert await fork_server_of(core) != server


async def fork_server_of(core: Core) -> int:
    """Its pid, when it is ready."""
    await until(lambda: core.supervisor._engines.fork_server is not None and core.supervisor._engines.fork_server.ready)
    assert core.supervisor._engines.fork_server is not None
    return core.supervisor._engines.fork_server.pid


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def red(value: int) -> np.ndarray:
    """A style picture that the stand-in's vector tells from others."""
    return np.full((20, 30, 3), (value, 0, 0), np.uint8)


async def test_a_picture_that_comes_before_the_engine_waits_for_it() -> None:
    """Of several the newest counts; what is taken away, also by its vector, is not given."""
    async with running() as (core, lines):
        given, replaced, cleared, forgotten = (
            core.sessions.open(name, PARAMETERS) for name in ("given", "replaced", "cleared", "forgotten")
        )
        for session in (given, replaced, cleared, forgotten):
            await session.control.set_plane("style_picture", red(100))
            assert session.control.parameters.style_vector is None
        await replaced.control.set_plane("style_picture", red(200))
        await cleared.control.set_plane("style_picture", None)
        await forgotten.control.change({"style_vector": None})
        await given.control.set_plane("nonsense", red(1))  # no engine is there that could refuse it
        for session in (given, replaced, cleared, forgotten):
            await session.opened()
        vectors = [session.control.parameters.style_vector for session in (given, replaced, cleared, forgotten)]
        assert [vector and vector[0] for vector in vectors] == [100, 200, None, None]
        [line] = lines
        assert line.startswith("given: ") and "nonsense" in line
        version = given.control.version
        os.kill(engine_pid(core), signal.SIGKILL)
        await until(lambda: not core.supervisor.streams[0].attached)
        await given.control.set_plane("style_picture", red(50))  # the next engine's, too
        assert given.control.parameters.style_vector == vectors[0], "known when an engine has looked at it"
        await until(lambda: given.control.parameters.style_vector != vectors[0])
        assert given.control.parameters.style_vector[0] == 50 and given.control.version > version + 1
        assert replaced.control.parameters.style_vector == vectors[1]
