"""Other people's WHIP and WHEP clients against a daemon that asks for its token."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest

from driftcam.daemon.browser import PeerStreams
from driftcam.daemon.http.server import HttpServer, Security
from driftcam.webrtc.http import operations
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.settings import Settings
from tests.daemon.http_daemon import Daemon, daemon_in, until

GSTREAMER = Path(__file__).with_name("gstreamer_client.py")
FFMPEG = Path(__file__).with_name("ffmpeg_client.py")
PYTHON = "/usr/bin/python3"  # GStreamer's bindings come with the system
TOKEN = "a-token-that-nobody-guesses"


def gstreamer_is_missing() -> str:
    check = "import gi; gi.require_version('GstWebRTC', '1.0'); from gi.repository import Gst; Gst.init(None); "
    check += "raise SystemExit(not all(Gst.ElementFactory.find(n) for n in ('webrtcbin', 'nicesrc', 'vp8enc')))"
    try:
        ran = subprocess.run([PYTHON, "-c", check], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return f"there is no {PYTHON}"
    return "" if ran.returncode == 0 else "GStreamer with webrtcbin, nice and its Python bindings is not installed"


@pytest.fixture(scope="module")
def needs_gstreamer() -> None:
    if reason := gstreamer_is_missing():
        pytest.skip(reason)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Daemon, str]]:
    """A daemon whose stand-in engine gives negatives, and its address."""
    async with daemon_in(folder) as daemon:
        peers = Peers(PeerStreams(daemon.core.sessions), Settings())
        server = HttpServer(daemon.context, Security(TOKEN), operations(peers))
        try:
            yield daemon, await server.start("127.0.0.1", 0)
        finally:
            await peers.close()
            await server.close()


@contextlib.asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """A process that ends with its standard input, or is killed, and its lines, which grow while it runs."""
    lines: list[str] = []
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None

    async def read() -> None:
        async for line in process.stdout:  # type: ignore[union-attr]
            lines.append(line.decode().strip())

    reading = asyncio.create_task(read())
    try:
        yield process, lines
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


def gstreamer(role: str, url: str, token: str = TOKEN) -> contextlib.AbstractAsyncContextManager:
    return program(PYTHON, str(GSTREAMER), role, url, token)


async def test_gstreamer_sends_and_gstreamer_looks_on(needs_gstreamer: None, tmp_path: Path) -> None:
    async with serving(tmp_path) as (daemon, address), gstreamer("whip", f"{address}whip/live") as (_, sender):
        await until(lambda: daemon.session.delivered > 20, timeout=40)
        assert "connected" in sender
        async with gstreamer("whep", f"{address}whep/live") as (_, viewer):
            await until(lambda: sum(line.startswith("brightness") for line in viewer) > 20, timeout=40)
            assert int(viewer[-1].split()[1]) < 40  # the sender shows white


async def test_ffmpeg_sends_and_is_gone_when_it_is_killed(tmp_path: Path) -> None:
    if "whip" not in av.formats_available:
        pytest.skip("PyAV's FFmpeg has no WHIP muxer")
    async with serving(tmp_path) as (daemon, address):
        url = f"{address}whip/live"
        async with program(sys.executable, str(FFMPEG), url, str(tmp_path), TOKEN) as (sender, _):
            await until(lambda: daemon.session.delivered > 20 or sender.returncode is not None, timeout=40)
            assert sender.returncode is None and not daemon.session.ingest.free
            result = await daemon.context.preview(daemon.session).after(0)
            assert result is not None and abs(float(result.image.mean()) - (255 - 60)) < 8
            sender.kill()
            await until(lambda: daemon.session.ingest.free, timeout=10)


@pytest.mark.parametrize("token", ["", "another-token-altogether"])
async def test_without_the_token_no_client_gets_in(tmp_path: Path, token: str) -> None:
    async with serving(tmp_path) as (daemon, address):
        if "whip" in av.formats_available:
            arguments = [str(FFMPEG), f"{address}whip/live", str(tmp_path), *([token] if token else [])]
            async with program(sys.executable, *arguments) as (sender, _), asyncio.timeout(30):
                assert await sender.wait() != 0
        assert daemon.session.ingest.free
