"""Sources and sinks of a daemon that come, fail and come again, over a real session with the stand-in engine."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from driftcam.daemon.config.specs import Spec, parse_source
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.service.metrics import Metrics
from driftcam.daemon.service.pulse import EVERY, Pulse
from driftcam.daemon.service.systemd import Systemd
from driftcam.daemon.session import retry
from driftcam.daemon.session.feed import feed
from driftcam.daemon.session.retry import RetryingSink, RetryingSource, RetryingStyle
from driftcam.daemon.sources import SourceInfo
from driftcam.engines.api import ParameterError
from tests.daemon.conftest import ROOT, write_clip
from tests.daemon.http_daemon import Daemon, daemon_in, until


@pytest_asyncio.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    monkeypatch.setattr(retry, "RETRY_FIRST", 0.05)
    monkeypatch.setattr(retry, "LOOK_EVERY", 0.05)
    async with daemon_in(tmp_path) as daemon:
        yield daemon


async def test_a_source_that_is_not_there_yet_is_taken_when_it_comes(daemon: Daemon, tmp_path: Path) -> None:
    spec = parse_source(f"clip:{tmp_path / 'later.mp4'}")
    retrying = RetryingSource(spec, daemon.session, None, daemon.core.notify)
    await until(lambda: daemon.lines)
    assert "later.mp4" in daemon.lines[0]
    write_clip(tmp_path / "half.mp4", size=(320, 160)).rename(tmp_path / "later.mp4")
    await until(lambda: daemon.session.delivered > 5)
    assert daemon.session.source == str(spec)
    parameters = daemon.session.control.parameters
    assert parameters.width / parameters.height == pytest.approx(2, rel=0.1), "the source's shape"
    assert len(daemon.lines) == 1, "the same trouble is told once"
    await retrying.close()
    assert daemon.session.source == "", "another may come now"


async def test_a_source_is_changed_without_the_session_ending(daemon: Daemon, tmp_path: Path) -> None:
    first = RetryingSource(parse_source("test"), daemon.session, (64, 64), daemon.core.notify)
    await until(lambda: daemon.session.delivered > 0)
    await first.close()
    second = RetryingSource(
        parse_source(f"clip:{write_clip(tmp_path / 'a.mp4')}"), daemon.session, None, daemon.core.notify
    )
    delivered = daemon.session.delivered
    await until(lambda: daemon.session.delivered > delivered + 5)
    await second.close()


async def test_the_password_of_an_address_is_shown_to_nobody(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}/cam"
        retrying = RetryingSource(parse_source(f"url:{address}"), daemon.session, None, daemon.core.notify)
        await until(lambda: daemon.lines and "No picture" in daemon.session.trouble)
        assert "url:http://…@127.0.0.1" in daemon.session.trouble
        shown = [daemon.session.trouble, daemon.session.source, caplog.text, *daemon.lines]
        assert not any("secret" in text for text in shown)
        await retrying.close()


class Slides:
    """A source that shows a picture and says how many come in a second."""

    sound = None

    def __init__(self, fps: float) -> None:
        self.info = SourceInfo(64, 64, fps, None, waits=False)

    def frames(self, stop: threading.Event, *, paced: bool) -> Iterator[Picture]:
        now = time.monotonic_ns()
        yield Picture(np.zeros((64, 64, 3), np.uint8), now, now)
        stop.wait()

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("fps", "trouble"), [(0.2, ""), (30.0, "No picture comes from slides")])
async def test_the_rate_of_a_source_decides_when_a_picture_is_missed(daemon: Daemon, fps: float, trouble: str) -> None:
    lease, stop = daemon.session.ingest.claim("slides"), threading.Event()
    feeding = asyncio.create_task(feed(Slides(fps), daemon.session, lease, stop, last=False))
    await until(lambda: daemon.session.delivered)
    await asyncio.sleep(3)
    assert daemon.session.trouble == trouble
    stop.set()
    await feeding


async def test_a_clip_of_slides_is_shown_again_until_the_next_one_comes(daemon: Daemon, tmp_path: Path) -> None:
    """A change of style is seen at once, and nobody is told that no picture comes."""
    slides = write_clip(tmp_path / "slides.mkv", 3, fps=Fraction(1, 4))
    retrying = RetryingSource(parse_source(f"clip:{slides}"), daemon.session, (64, 64), daemon.core.notify)
    await until(lambda: daemon.session.delivered > 3)
    assert daemon.session.trouble == ""
    await retrying.close()


class Camera:
    """A sink that fails when it is told to."""

    opened: list[Camera] = []  # noqa: RUF012
    absent = True
    name = "virtualcam:/dev/video77"

    def __init__(self) -> None:
        self.results, self.broken, self.closed = 0, False, False
        Camera.opened.append(self)

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        if self.broken:
            raise RunError("the device is gone")
        self.results += 1
        return True

    async def close(self) -> None:
        self.closed = True


async def test_a_sink_is_opened_again_until_it_works(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_sink(*given: object, **options: object) -> Camera:
        if Camera.absent:
            raise ParameterError("sink", "virtualcam", "there is no virtual camera")
        return Camera()

    monkeypatch.setattr(retry, "open_sink", open_sink)
    retrying = RetryingSink(Spec("virtualcam"), daemon.session, daemon.core.notify)
    async with daemon.frames():
        await until(lambda: daemon.lines)
        Camera.absent = False
        await until(lambda: Camera.opened and Camera.opened[0].results > 3)
        Camera.opened[0].broken = True
        await until(lambda: len(Camera.opened) == 2 and Camera.opened[1].results > 3)
        assert Camera.opened[0].closed
        await retrying.close()
        assert Camera.opened[1].closed
        assert Camera.opened[1] not in daemon.session.sinks
    assert sum("there is no virtual camera" in line for line in daemon.lines) == 1


async def test_a_style_picture_is_used_as_soon_as_there_is_an_engine(daemon: Daemon, tmp_path: Path) -> None:
    retrying = RetryingStyle(tmp_path / "none.jpg", daemon.session, daemon.core.notify)
    await until(lambda: daemon.lines)
    await retrying.close()
    retrying = RetryingStyle(ROOT / "tests" / "data" / "astronaut.jpg", daemon.session, daemon.core.notify)
    await until(lambda: daemon.session.control.parameters.style_vector is not None)
    await retrying.close()


class Telling(Systemd):
    """Counts what systemd would hear."""

    alive_told = 0

    def alive(self) -> None:
        self.alive_told += 1


class Deaf:
    """A sink that holds its session up: a bug such as the watchdog is there for."""

    name = "deaf"

    async def room(self) -> None:
        await until(lambda: False, timeout=3600)

    def offer(self, result: Result) -> bool:
        return True

    async def close(self) -> None:
        return


async def test_systemd_hears_nothing_while_results_wait_in_vain(daemon: Daemon) -> None:
    systemd = Telling({})
    pulse = Pulse(daemon.core, Metrics(daemon.core), systemd)
    pulse.start()
    await until(lambda: systemd.alive_told >= 4)
    session = daemon.core.sessions.open("held", daemon.session.control.parameters.replace(seed=3), live=False)
    await session.opened()
    session.add_sink(Deaf())
    image = np.zeros((64, 128, 3), np.uint8)
    lease = session.ingest.claim("test")
    for number in range(3):
        lease.offer(Picture(image, number, number))
    await until(lambda: pulse.trouble)
    assert "held" in pulse.trouble
    told = systemd.alive_told
    await asyncio.sleep(3 * EVERY)
    assert systemd.alive_told == told
    await daemon.core.sessions.close("held")
    await until(lambda: systemd.alive_told > told)
    assert not pulse.trouble
    await pulse.close()
