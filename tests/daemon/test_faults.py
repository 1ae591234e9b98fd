"""What breaks while running: the engine, the disk, the daemon itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from driftcam.daemon.errors import RunError
from driftcam.daemon.session.core import Core
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.model_files import ModelFiles
from tests.daemon import standin
from tests.daemon.conftest import ROOT, Running, read_clip, start_run, with_seed, write_clip


def worker_of(pid: int) -> int:
    """The engine process that `pid` started."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    (worker,) = [
        int(child) for child in children if b"driftcam.engines.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return worker


def wait_until_gone(pid: int, timeout: float = 5.0) -> None:
    end = time.monotonic() + timeout
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, f"process {pid} still runs"
        time.sleep(0.05)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_DELAY_MS", "20")


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_killed_engine_costs_no_frame_of_a_clip(tmp_path: Path, number: signal.Signals) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", 60), tmp_path / "out.mp4"
    run = start_run(f"clip:{clip}", f"file:{out}")
    await run.until(lambda run: run.progress.done > 10)
    os.kill(worker_of(os.getpid()), number)
    report = await run.task
    assert report.restarts == 1
    assert report.frames == len(read_clip(out)) == 60
    times = [time for time, _ in read_clip(out)]
    assert times == sorted(times)
    assert any("starting it again" in line for line in run.lines)


async def test_a_live_stream_goes_on_after_its_engine_was_killed_with_the_parameters_as_changed() -> None:
    run = start_run("test", "page")
    await run.until(lambda run: run.progress.done > 0)
    await patch(run, {"strength": 0.5})
    os.kill(worker_of(os.getpid()), signal.SIGKILL)
    await run.until(lambda run: any("starting it again" in line for line in run.lines))
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 5)
    report = await run.end()
    assert report.restarts == 1
    assert report.parameters["strength"] == 0.5


async def test_an_engine_that_hangs_is_replaced() -> None:
    run = start_run("test", "page")
    await run.until(lambda run: run.progress.done > 0)
    os.kill(worker_of(os.getpid()), signal.SIGSTOP)
    await run.until(lambda run: any("said nothing" in line for line in run.lines))
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 5)
    assert (await run.end()).restarts == 1


@pytest.mark.parametrize("seed", [standin.DIES, standin.RAISES])
async def test_a_clip_that_kills_every_engine_ends_with_one_line(tmp_path: Path, clip: Path, seed: int) -> None:
    run = start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}", parameters=with_seed(seed))
    with pytest.raises(RunError, match="4 times in a row"):
        await run.task
    if seed == standin.RAISES:
        assert "the picture made the engine stumble" in str(run.task.exception())


async def test_an_engine_that_cannot_start_ends_the_run_and_leaves_no_file(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(RunError, match="no memory left"):
        await start_run(f"clip:{clip}", f"file:{out}", parameters=with_seed(standin.DIES_AT_START)).task
    assert not out.exists()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("b''", "ImportError: no such library"),
        ("b'x' * 64", "not a Driftcam message"),
        ("encode(Message(MessageType.REPLY))", "REPLY instead of HELLO"),
        ("encode(Message(MessageType.HELLO))[:4] + bytes([9, 0]) + bytes(58)", "version 9.0"),
        ("encode(Message(MessageType.HELLO)) + b'x' * 64", "broke the bus protocol"),
    ],
)
async def test_a_process_that_is_no_engine_is_refused_with_its_reason(says: str, words: str) -> None:
    code = (
        "import socket, sys, time; from driftcam.engines.api.bus import *\n"
        f"says = {says}\n"
        "socket.socket(fileno=int(sys.argv[2])).sendall(says)\n"
        "if not says: raise ImportError('no such library')\n"
        "time.sleep(60)\n"
    )
    core = Core([sys.executable, "-c", code], notify=print)
    with pytest.raises(RunError, match=words):
        await core.sessions.open("live", Parameters()).opened()
    start = time.monotonic()
    await core.close()
    assert time.monotonic() - start < 5


async def test_damaged_weights_are_named(tmp_path: Path, clip: Path) -> None:
    options = EngineOptions(ModelFiles(tmp_path / "w.safetensors"))
    with pytest.raises(ParameterError, match=r"weights: .*damaged"):
        await start_run(f"clip:{clip}", f"file:{tmp_path / 'o.mp4'}", engine_options=options).task


async def test_a_change_that_the_engine_refuses_leaves_the_stream_as_it_was() -> None:
    run = start_run("test", "page")
    await run.until(lambda run: run.progress.done > 0)
    status, answer = await patch(run, {"seed": standin.REFUSED})
    assert (status, answer["field"]) == (422, "seed")
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 3)
    report = await run.end()
    assert report.parameters["seed"] == 0
    assert report.restarts == 0


async def test_a_change_that_kills_every_engine_is_taken_back() -> None:
    run = start_run("test", "page")
    await run.until(lambda run: run.progress.done > 0)
    assert (await patch(run, {"strength": 0.5}))[0] == 200
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 40)
    await patch(run, {"seed": standin.DIES})
    await run.until(lambda run: any("going back" in line for line in run.lines))
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 5)
    report = await run.end()
    assert (report.parameters["strength"], report.parameters["seed"]) == (0.5, 0)


async def patch(run: Running, changes: dict) -> tuple[int, dict]:
    async with (
        aiohttp.ClientSession() as session,
        session.patch(f"{run.address}api/parameters", json=changes) as response,
    ):
        return response.status, await response.json()


@pytest.mark.serial
async def test_latency_stays_flat_when_the_engine_is_slower_than_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_DELAY_MS", "150")  # the source gives a frame every 33 ms
    report = await start_run("test", "page", frames=15).task
    assert report.dropped > 30
    # One frame in the engine, and the one behind it the newest; a queue of the three slots would take 450 ms.
    assert report.latency_ms["p50"] < 350


def daemon_in_the_background(out: Path) -> subprocess.Popen[bytes]:
    """A run without end, as the command line makes it, with the stand-in engine."""
    code = (
        "import sys; from unittest.mock import patch\n"
        "from driftcam.daemon import run; from driftcam.daemon.cli import main\n"
        "real = run.worker_command\n"
        f"with patch.object(run, 'worker_command', lambda engine, options: real({standin.NAME!r})):\n"
        f"    sys.exit(main(['run', '--source', 'test', '--sink', {f'file:{out}'!r}, '--size', '64']))\n"
    )
    environment = os.environ | {"STANDIN_DELAY_MS": "10"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.PIPE)


def wait_for_bytes(path: Path, size: int, timeout: float = 30.0) -> None:
    end = time.monotonic() + timeout
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end, f"{path} stays below {size} bytes"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_whole_file(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out.mp4"
    process = daemon_in_the_background(out)
    wait_for_bytes(out, 20_000)
    worker = worker_of(process.pid)
    process.send_signal(number)
    _, words = process.communicate(timeout=20)
    assert process.returncode == 0, words
    assert b"Traceback" not in words
    assert f"{len(read_clip(out))} frames at".encode() in words
    wait_until_gone(worker)


def test_what_was_written_plays_after_kill_9_and_the_engine_ends_too(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    process = daemon_in_the_background(out)
    wait_for_bytes(out, 20_000)
    worker = worker_of(process.pid)
    process.kill()
    process.communicate(timeout=20)
    assert len(read_clip(out)) >= 10
    wait_until_gone(worker)


async def test_a_full_disk_ends_the_run_with_one_line_and_a_file_that_plays(small_disk: Path) -> None:
    out = small_disk / "out.mp4"
    with pytest.raises(RunError, match=r"out\.mp4: writing failed \(No space left on device\)"):
        async with asyncio.timeout(60):
            await start_run("test", f"file:{out}", size=(320, 192)).task
    assert len(read_clip(out)) > 10


async def test_a_full_disk_does_not_end_what_the_page_shows(small_disk: Path) -> None:
    run = start_run("test", f"file:{small_disk / 'out.mp4'}", "page", size=(320, 192))
    await run.until(lambda run: any("goes on without it" in line for line in run.lines))
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 5)
    with pytest.raises(RunError, match="No space left"):
        await run.end()


async def test_a_device_that_is_full_from_the_start(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left on device"):
        await start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}").task


async def test_stopping_while_the_engine_starts_does_not_wait_for_it(tmp_path: Path, clip: Path) -> None:
    run = start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}")
    await asyncio.sleep(0)
    start = time.monotonic()
    assert (await run.end()).frames == 0
    assert time.monotonic() - start < 5
