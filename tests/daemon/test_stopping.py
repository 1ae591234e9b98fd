"""Sources that bring nothing, or can be read only once: a stop never waits for them, and nothing is no success."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture
from driftcam.daemon.loose import LooseThread
from driftcam.daemon.session import feed as feeding
from driftcam.daemon.session.feed import feed, open_loosely
from driftcam.daemon.sources import SourceInfo
from driftcam.engines.api import ParameterError
from tests.daemon import standin
from tests.daemon.conftest import ROOT, read_clip, start_run
from tests.daemon.http_daemon import daemon_in, until
from tests.daemon.test_times import FPS, SECONDS, write_part

PATIENCE = 8.0  # on a busy machine; it takes a second, and took minutes or for ever


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.fixture
def mute() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["fifo", "tcp", "http", "rtsp", "udp"])
def test_serve_ends_at_once_whatever_its_source_waits_for(tmp_path: Path, fifo: Path, mute: str, kind: str) -> None:
    source = f"clip:{fifo}" if kind == "fifo" else f"url:{kind}://{mute}"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DRIFTCAM_"))}
    environ |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    code = "from driftcam.daemon.cli import main; raise SystemExit(main())"
    flags = ["bus.enabled=false", f"engine.implementation={standin.NAME}", "live.size=128x64"]
    words = ["serve", "--listen", "127.0.0.1:0", "--source", source, *(f"--set={flag}" for flag in flags)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", code, *words], env=environ, stderr=log)
    try:
        end = time.monotonic() + 60
        while "the page is at" not in (tmp_path / "log").read_text():
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
        time.sleep(0.5)  # it is being opened
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


async def test_a_run_on_a_pipe_that_nobody_writes_can_be_stopped(tmp_path: Path, fifo: Path) -> None:
    run = start_run(f"clip:{fifo}", f"file:{tmp_path / 'out.mp4'}")
    await asyncio.sleep(0.5)
    async with asyncio.timeout(PATIENCE):
        assert (await run.end()).frames == 0
    assert not (tmp_path / "out.mp4").exists()


async def test_a_style_picture_that_never_comes_keeps_nobody(tmp_path: Path, fifo: Path, clip: Path) -> None:
    run = start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}", style_image=fifo)
    await asyncio.sleep(1)
    async with asyncio.timeout(PATIENCE):
        assert (await run.end()).frames == 0


async def test_what_a_pipe_brought_before_the_stop_plays(tmp_path: Path, fifo: Path) -> None:
    part = write_part(tmp_path / "a.ts").read_bytes()
    run = start_run(f"clip:{fifo}", f"file:{tmp_path / 'out.mp4'}")
    with await asyncio.to_thread(fifo.open, "wb") as writer:  # and then nothing more comes
        writer.write(part)
        writer.flush()
        await run.until(lambda run: run.progress.done > 20)
        async with asyncio.timeout(PATIENCE):
            report = await run.end()
    assert len(read_clip(tmp_path / "out.mp4")) == report.frames > 20


async def test_a_pipe_is_read_once_from_the_first_picture_to_the_last(tmp_path: Path) -> None:
    part = write_part(tmp_path / "a.ts").read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as writer, os.fdopen(reading, "rb"):
        thread = threading.Thread(target=lambda: (writer.write(part), writer.close()))
        thread.start()
        report = await start_run(f"clip:/dev/fd/{reading}", f"file:{tmp_path / 'out.mp4'}").task
        thread.join()
    assert report.frames == len(read_clip(tmp_path / "out.mp4")) == FPS * SECONDS


@pytest.mark.parametrize("data", [b"", b"no video at all" * 1000], ids=["nothing", "garbage"])
async def test_a_pipe_without_a_picture_is_refused_with_one_line(tmp_path: Path, fifo: Path, data: bytes) -> None:
    threading.Thread(target=fifo.write_bytes, args=[data], daemon=True).start()
    with pytest.raises(ParameterError, match=r"^source.*fifo' cannot be used; it cannot be read as a video") as refused:
        await start_run(f"clip:{fifo}", f"file:{tmp_path / 'out.mp4'}").task
    assert "\n" not in str(refused.value)


async def test_no_picture_is_no_success(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip is gone between the look at it and the reading."""

    async def gone(*given: object) -> object:
        source = await open_loosely(*given)  # type: ignore[arg-type]
        clip.unlink()
        return source

    monkeypatch.setattr("driftcam.daemon.run.open_loosely", gone)
    with pytest.raises(RunError, match=r"no picture came from clip:.*; nothing was written"):
        await start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}").task
    assert not (tmp_path / "out.mp4").exists()


class Stuck:
    """A source that gives one picture and hangs in a call that nobody can interrupt."""

    info = SourceInfo(64, 64, 30.0, None, waits=False)
    sound = None

    def __init__(self) -> None:
        self.free, self.ended = threading.Event(), threading.Event()

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        try:
            now = time.monotonic_ns()
            yield Picture(np.zeros((64, 64, 3), np.uint8), now, now)
            self.free.wait()
        finally:
            self.ended.set()

    def close(self) -> None:
        self.ended.set()


async def test_a_source_that_hangs_is_left_behind_with_a_word_and_frees_itself_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Stuck()
    async with daemon_in(tmp_path) as daemon:
        lease = daemon.session.ingest.claim("webcam:0")
        task = asyncio.create_task(feed(source, daemon.session, lease, threading.Event(), last=False))
        await until(lambda: daemon.session.delivered)
        task.cancel()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)
    assert "webcam:0 does not stop" in caplog.text
    assert not source.ended.is_set()
    source.free.set()
    await asyncio.to_thread(source.ended.wait, PATIENCE)
    assert source.ended.is_set()


async def test_a_source_that_opens_after_nobody_wants_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Stuck()
    monkeypatch.setattr(feeding, "open_source", lambda *given: source.free.wait() and source)
    task = asyncio.create_task(open_loosely(None, print, threading.Event()))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    source.free.set()
    await asyncio.to_thread(source.ended.wait, PATIENCE)
    assert source.ended.is_set()


async def test_calls_come_one_after_another_with_their_results_and_failures() -> None:
    thread, seen = LooseThread("test"), []
    calls = [thread.call(lambda n=n: (time.sleep(0.01), seen.append(n), 1 // n)[2]) for n in (1, 0, 2)]
    assert await calls[0] == 1
    with pytest.raises(ZeroDivisionError):
        await calls[1]
    assert await calls[2] == 0
    assert seen == [1, 0, 2]
    thread.end()
