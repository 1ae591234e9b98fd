"""What the network and other people's programs do: loss, silence, nonsense, crowds."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from driftcam.webrtc.http import SDP
from driftcam.webrtc.operation import Refused
from driftcam.webrtc.sdp import Role, read_fragment, read_offer, with_start_bitrate
from driftcam.webrtc.settings import Settings
from tests.webrtc.conftest import Camera, Client, Server, serving
from tests.webrtc.relay import relayed, without_candidates

pytestmark = pytest.mark.serial

SOAK = bool(os.environ.get("DRIFTCAM_SOAK"))


async def offer_of(direction: str = "sendrecv", kind: str = "video") -> str:
    connection = RTCPeerConnection()
    connection.addTransceiver(kind, direction)
    await connection.setLocalDescription(await connection.createOffer())
    text = connection.localDescription.sdp
    await connection.close()
    return text


async def test_a_peer_that_vanishes_is_gone_in_ten_seconds_and_leaves_nothing() -> None:
    async with serving() as server:
        tasks = len(asyncio.all_tasks())
        client = Client(server, "api/peers", camera=Camera())
        await client.connect()
        await server.until(lambda: len(client.greys) > 3)
        client.vanish()
        start = time.monotonic()
        await server.until(lambda: server.stream.members == 0, timeout=20)
        assert time.monotonic() - start < 10
        async with server.session.get(server.address + client.location) as response:
            assert response.status == 410
        await client.close()
        await server.until(lambda: len(asyncio.all_tasks()) <= tasks + 1)


async def test_an_offer_that_nobody_follows_up_times_out() -> None:
    async with serving(Settings(connect_timeout=1.0, negotiating=1)) as server:
        offer = await offer_of()
        client = Client(server, "api/peers")
        assert (await client.post(offer))[0] == 201
        assert (await client.post(offer))[0] == 503
        await server.until(lambda: server.stream.members == 0)
        assert (await client.post(offer))[0] == 201
        await client.close()


@pytest.mark.parametrize("loss", [0.02, 0.1])
async def test_loss_leaves_no_freeze_and_no_growing_delay(loss: float) -> None:
    """Both ways lose packets; the pictures follow the camera all the time."""
    seconds = 20 if SOAK else 8
    async with serving() as server:
        client = Client(server, "api/peers", camera=Camera((320, 240)))
        client.connection.addTransceiver(client.camera, "sendrecv")
        client.connection.on("track", lambda track: client.reading.append(asyncio.create_task(client._read(track))))
        await client.connection.setLocalDescription(await client.connection.createOffer())
        status, answer, _ = await client.post(without_candidates(client.connection.localDescription.sdp))
        assert status == 201
        async with relayed(answer, loss) as (relay, through):
            await client.connection.setRemoteDescription(RTCSessionDescription(through, "answer"))
            await server.until(lambda: len(client.greys) > 5)
            delays, start = [], time.monotonic()
            while time.monotonic() - start < seconds or relay.lost <= 10:  # a busy machine sends fewer packets
                client.camera.grey = 60 if client.camera.grey == 180 else 180
                switched, wanted = time.monotonic(), 255 - client.camera.grey
                await server.until(lambda w=wanted: abs(client.greys[-1] - w) < 20, timeout=5)
                delays.append(time.monotonic() - switched)
                await asyncio.sleep(0.4)
            assert max(delays) < 2.0 and np.median(delays) < 1.0
            assert np.diff(client.times).max() < 2.0
        await client.close()


async def test_a_slow_engine_leaves_the_delay_flat() -> None:
    """Five times slower than the camera: frames are left out, none waits."""
    seconds = 120 if SOAK else 12
    async with serving(delay=5 / 30) as server:
        client = Client(server, "api/peers", camera=Camera())
        await client.connect()
        await server.until(lambda: len(client.greys) > 3)
        await asyncio.sleep(seconds)
        ages = server.stream.ages
        third = len(ages) // 3
        first, last = np.median(ages[:third]), np.median(ages[-third:])
        assert len(ages) > seconds * 3 and server.stream.frames > seconds * 15
        assert last < first + 60 and max(ages[-third:]) < 1000
        await client.close()


async def test_connecting_and_leaving_again_and_again_costs_nothing() -> None:
    cycles = 100 if SOAK else 12
    async with serving() as server:

        async def cycle(vanish: bool) -> None:
            client = Client(server, "api/peers", camera=Camera())
            await client.connect()
            await server.until(lambda: len(client.greys) > 1)
            if not vanish:
                assert await client.delete() == 200
            await client.close()

        for _ in range(4):
            await cycle(False)
        await server.until(lambda: server.stream.members == 0)
        before = usage()
        for number in range(cycles):
            await cycle(number % 4 == 3)
        await server.until(lambda: server.stream.members == 0)
        await asyncio.sleep(1.0)
        after = usage()
        assert after["tasks"] <= before["tasks"] + 2
        assert after["sockets"] <= before["sockets"] + 2
        assert after["threads"] <= before["threads"] + 2
        assert after["memory_mb"] <= before["memory_mb"] + 30
        assert server.stream.listeners == set()


def usage() -> dict[str, float]:
    gc.collect()
    links = (os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists())
    status = Path("/proc/self/status").read_text()
    return {
        "tasks": len(asyncio.all_tasks()),
        "sockets": sum(link.startswith("socket:") for link in links),
        "threads": sum("decoder" in thread.name for thread in threading.enumerate()),
        "memory_mb": int(status.split("VmRSS:")[1].split()[0]) / 1024,
    }


async def test_nonsense_is_answered_with_4xx_and_leaves_nothing(server: Server) -> None:
    """Offers damaged in many ways, over HTTP."""
    good = await offer_of()
    rng = random.Random(7)
    bodies = ["", "v=0", "v=0\r\n", "{}", "\0" * 100, "x" * 70_000, "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", good * 2]
    lines = good.splitlines()
    for _ in range(60):
        damaged = list(lines)
        for _ in range(rng.randint(1, 4)):
            where = rng.randrange(len(damaged))
            damaged[where : where + 1] = rng.choice(
                [
                    [],
                    [damaged[where]] * 2,
                    [damaged[where][: rng.randrange(1, 20)]],
                    ["a=" + "z" * 300],
                    ["m=audio 9 x"],
                ]
            )
        bodies.append("\r\n".join(damaged) + "\r\n")
    for body in bodies:
        for role in ("whip", "whep", "api/peers"):
            async with server.session.post(
                f"{server.address}/{role}/live", data=body.encode(), headers={"Content-Type": SDP}
            ) as response:
                assert response.status in (201, 400, 406, 413, 422, 503), (response.status, body)
                if response.status == 201:
                    url = server.address + response.headers["Location"]
                    async with server.session.delete(url) as deleted:
                        assert deleted.status == 200
    await server.until(lambda: server.stream.members == 0)
    client = Client(server, "api/peers", camera=Camera())
    await client.connect()
    await server.until(lambda: len(client.greys) > 3)
    await client.close()


async def test_other_ways_to_ask_wrongly(server: Server) -> None:
    url, ask = f"{server.address}/whip/live", server.session
    async with ask.post(url, data="v=0", headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 415
    async with ask.post(f"{server.address}/whip/no_such", data="v=0", headers={"Content-Type": SDP}) as response:
        assert response.status == 404
    async with ask.post(
        f"{server.address}/whip/other", data=await offer_of(), headers={"Content-Type": SDP}
    ) as response:
        assert response.status == 404 and "no session" in (await response.json())["message"]
    async with ask.post(url, data=await offer_of("recvonly"), headers={"Content-Type": SDP}) as response:
        assert response.status == 422 and "offer a video" in (await response.json())["message"]
    async with ask.post(url, data=await offer_of(kind="audio"), headers={"Content-Type": SDP}) as response:
        assert response.status == 422
    async with ask.post(url, data=b"\xff\xfe", headers={"Content-Type": SDP}) as response:
        assert response.status == 400
    only_vp9 = (await offer_of()).replace("VP8", "VP9").replace("H264", "AV1")
    async with ask.post(url, data=only_vp9, headers={"Content-Type": SDP}) as response:
        assert response.status == 406 and "H264" in (await response.json())["message"]


@settings(max_examples=150)
@given(st.text(max_size=400), st.sampled_from(list(Role)))
def test_no_text_makes_the_readers_stumble(text: str, role: Role) -> None:
    for read in (lambda: read_offer("v=0\r\n" + text, role), lambda: read_fragment("a=candidate:" + text, "u")):
        try:
            read()
        except Refused as error:
            assert 400 <= error.status < 500 and str(error)


def test_browsers_are_asked_to_begin_at_a_good_bitrate() -> None:
    answer = "\r\n".join(
        ["v=0", "m=audio 9 x 111", "a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10", "m=video 9 x 96 97 98",
         "a=rtpmap:96 VP8/90000", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96", "a=rtpmap:98 H264/90000",
         "a=fmtp:98 packetization-mode=1", ""]
    )  # fmt: skip
    lines = with_start_bitrate(answer, 2_000_000).splitlines()
    assert "a=fmtp:96 x-google-start-bitrate=2000" in lines
    assert "a=fmtp:98 packetization-mode=1;x-google-start-bitrate=2000" in lines
    assert {"a=fmtp:97 apt=96", "a=fmtp:111 minptime=10"} <= set(lines)
