"""Other people's WHIP and WHEP clients against our server."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest

from tests.webrtc.conftest import Client, serving

GSTREAMER = Path(__file__).with_name("gstreamer_client.py")
FFMPEG = Path(__file__).with_name("ffmpeg_client.py")
PYTHON = "/usr/bin/python3"  # GStreamer's bindings come with the system


def gstreamer_is_missing() -> str:
    check = "import gi; gi.require_version('GstWebRTC', '1.0'); from gi.repository import Gst; Gst.init(None); "
    check += "raise SystemExit(not all(Gst.ElementFactory.find(n) for n in ('webrtcbin', 'nicesrc', 'vp8enc')))"
    try:
        ran = subprocess.run([PYTHON, "-c", check], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return f"there is no {PYTHON}"
    return "" if ran.returncode == 0 else "GStreamer with webrtcbin, nice and its Python bindings is not installed"


@contextlib.asynccontextmanager
async def gstreamer(role: str, url: str) -> AsyncIterator[list[str]]:
    """Its lines, which grow while it runs."""
    lines: list[str] = []
    process = await asyncio.create_subprocess_exec(
        PYTHON, str(GSTREAMER), role, url, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None and process.stdout is not None

    async def read() -> None:
        async for line in process.stdout:  # type: ignore[union-attr]
            lines.append(line.decode().strip())

    reading = asyncio.create_task(read())
    try:
        yield lines
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


@pytest.fixture(scope="module")
def needs_gstreamer() -> None:
    if reason := gstreamer_is_missing():
        pytest.skip(reason)


async def test_gstreamer_sends_and_gstreamer_receives(needs_gstreamer: None) -> None:
    async with serving() as server, gstreamer("whip", f"{server.address}/whip/live") as sender:
        await server.until(lambda: server.stream.frames > 20, timeout=40)
        assert "connected" in sender
        async with gstreamer("whep", f"{server.address}/whep/live") as viewer:
            await server.until(lambda: sum(line.startswith("brightness") for line in viewer) > 20, timeout=40)
            # The sender shows white, the stream is its negative.
            assert int(viewer[-1].split()[1]) < 40


async def test_ffmpeg_sends_and_aiortc_receives(tmp_path: Path) -> None:
    if "whip" not in av.formats_available:
        pytest.skip("PyAV's FFmpeg has no WHIP muxer")
    async with serving() as server:
        arguments = [str(FFMPEG), f"{server.address}/whip/live", str(tmp_path)]
        sender = await asyncio.create_subprocess_exec(sys.executable, *arguments)
        try:
            await server.until(lambda: server.stream.frames > 20 or sender.returncode is not None, timeout=40)
            viewer = await Client(server, "whep").connect()
            await server.until(lambda: len(viewer.greys) > 10 or sender.returncode is not None, timeout=30)
            assert sender.returncode is None and abs(viewer.greys[-1] - (255 - 60)) < 8
            await viewer.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                sender.kill()
            await sender.wait()
        await server.until(lambda: server.stream.members <= 1, timeout=12)
