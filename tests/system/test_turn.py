"""Peers that can only meet over a relay: coturn, with nothing but its addresses in offer and answer."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection

from driftcam.webrtc.settings import IceServer, Settings
from tests.webrtc.conftest import Camera, Client, serving

pytestmark = pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")
USER, PASSWORD = "drift", "cam"


class Relayed(Client):
    """Offers only the relay's addresses, and uses only those that are answered."""

    async def post(self, offer: str, name: str = "live") -> tuple[int, str, Mapping[str, str]]:
        assert "typ relay" in offer
        status, answer, headers = await super().post(relays(offer), name)
        assert "typ relay" in answer
        return status, relays(answer), headers


def relays(sdp: str) -> str:
    return re.sub(r"a=candidate:(?!.*typ relay).*\r\n", "", sdp)


@contextlib.asynccontextmanager
async def turn_server(folder: Path) -> AsyncIterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "listening-ip": "127.0.0.1",
        "relay-ip": "127.0.0.1",
        "listening-port": port,
        "user": f"{USER}:{PASSWORD}",
        "realm": "driftcam",
        "userdb": folder / "turn.db",
        "log-file": "stdout",
        "pidfile": folder / "turn.pid",
    }
    flags = ["-n", "--lt-cred-mech", "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli"]
    command = ["turnserver", *flags, *(f"--{name}={value}" for name, value in options.items())]
    with (folder / "turn.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(200):
            await asyncio.sleep(0.05)
            if "auth thread" in (folder / "turn.log").read_text():
                break
        yield f"turn:127.0.0.1:{port}?transport=udp"
    finally:
        process.terminate()
        await process.wait()


async def test_video_goes_there_and_back_over_a_turn_server(tmp_path: Path) -> None:
    async with turn_server(tmp_path) as url:
        settings = Settings(ice_servers=(IceServer((url,), USER, PASSWORD),))
        async with serving(settings) as server:
            theirs = RTCConfiguration(iceServers=[RTCIceServer(url, USER, PASSWORD)])
            client = Relayed(server, "api/peers", camera=Camera(), connection=RTCPeerConnection(theirs))
            try:
                await client.connect()
                await server.until(lambda: len(client.greys) > 10)
                assert abs(client.greys[-1] - (255 - 60)) < 8
            finally:
                await client.close()
