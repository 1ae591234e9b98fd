"""WHIP, WHEP and the page's connection against aiortc as a client, over real sockets."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from driftcam.webrtc.http import FRAGMENT, SDP
from driftcam.webrtc.settings import IceServer, Settings
from tests.webrtc.conftest import Camera, Client, Server, Voice, serving

Make = Callable[..., Client]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_camera_goes_up_and_its_picture_comes_back_changed(client: Make, server: Server, codec: str) -> None:
    camera = Camera()
    both = await client("api/peers", camera=camera, codec=codec).connect()
    assert f" {codec}/90000" in both.connection.remoteDescription.sdp
    await server.until(lambda: len(both.greys) > 10)
    assert abs(both.greys[-1] - (255 - 60)) < 8
    camera.grey = 180
    await server.until(lambda: abs(both.greys[-1] - (255 - 180)) < 8)
    assert both.sizes[-1] == camera.size
    assert both.times[-1] - both.times[0] < 10


class LikeObs(Client):
    """Offers as OBS's WHIP output does (libdatachannel): what holds for all media stands above them, once."""

    async def post(self, offer: str, name: str = "live") -> tuple[int, str, Mapping[str, str]]:
        head, *media = re.split(r"(?=^m=)", offer, flags=re.MULTILINE)
        common = re.findall(r"^a=(?:ice-ufrag|ice-pwd|fingerprint|setup):.*\r\n", media[0], flags=re.MULTILINE)
        media = [re.sub(r"^a=(?:ice-ufrag|ice-pwd|fingerprint|setup):.*\r\n", "", m, flags=re.MULTILINE) for m in media]
        mids = re.findall(r"^a=mid:(\S+)", offer, flags=re.MULTILINE)
        head = re.sub(r"^o=.*\r\n", "o=rtc 2718281828 0 IN IP4 127.0.0.1\r\n", head, flags=re.MULTILINE)
        head += f"a=group:LS {' '.join(mids)}\r\na=ice-options:ice2,trickle\r\n{''.join(common)}"
        return await super().post(head + "".join(media), name)


async def test_an_offer_as_obs_makes_it_is_taken_and_ended(server: Server) -> None:
    """Sound and H.264 video, to be sent only; the address it got is deleted when the stream stops."""
    sender = LikeObs(server, "whip", camera=Camera(), microphone=Voice(lambda: True), codec="H264")
    try:
        await sender.connect()
        assert "H264/90000" in sender.connection.remoteDescription.sdp
        await server.until(lambda: server.stream.frames > 10 and len(server.stream.heard) > 10)
        assert await sender.delete() == 200
        await server.until(lambda: server.stream.members == 0)
    finally:
        await sender.close()


async def test_one_sends_and_viewers_come_and_go(client: Make, server: Server) -> None:
    sender = await client("whip", camera=Camera()).connect()
    first = await client("whep").connect()
    await server.until(lambda: len(first.greys) > 5)
    second = await client("whep").connect()
    await server.until(lambda: len(second.greys) > 5)
    assert await first.delete() == 200
    seen = len(second.greys)
    await server.until(lambda: len(second.greys) > seen + 10)
    assert len(server.stream.listeners) == 1
    assert await second.delete() == 200 and await sender.delete() == 200
    await server.until(lambda: server.stream.members == 0)
    assert server.stream.listeners == set()


async def test_who_comes_late_sees_the_last_picture_though_nothing_moves(client: Make, server: Server) -> None:
    viewer = await client("whep").connect()
    await server.until(lambda: bool(server.stream.listeners))
    server.stream.offer(np.full((96, 160, 3), 55, np.uint8), time.monotonic_ns())
    await server.until(lambda: len(viewer.greys) >= 3)  # it is repeated: a key frame may have been lost
    assert abs(viewer.greys[-1] - 200) < 8


async def test_another_publisher_takes_over_and_the_first_is_told_why(client: Make, server: Server) -> None:
    first = await client("whip", camera=Camera()).connect()
    await server.until(lambda: server.stream.frames > 3)
    await client("whip", camera=Camera()).connect()
    await server.until(lambda: server.stream.members == 1)
    async with server.session.get(server.address + first.location) as response:
        assert response.status == 410
        assert await response.json() == {"field": "source", "message": "another camera took over"}
    seen = server.stream.frames
    await server.until(lambda: server.stream.frames > seen + 5)


async def test_the_size_of_the_camera_may_change_while_it_runs(client: Make, server: Server) -> None:
    camera = Camera()
    both = await client("api/peers", camera=camera, codec="VP8").connect()
    await server.until(lambda: len(both.greys) > 5)
    camera.size = (96, 160)
    await server.until(lambda: both.sizes[-1] == (96, 160))
    camera.size = (95, 161)  # browsers never do that, other clients may
    await server.until(lambda: both.sizes[-1] == (94, 160))


async def test_the_protocol_around_the_media(client: Make, server: Server) -> None:
    viewer = client("whep")
    await viewer.connect()
    url, get = server.address + viewer.location, server.session
    async with get.options(f"{server.address}/whip/live") as response:
        assert response.status == 204 and response.headers["Accept-Post"] == SDP
        assert {"Location", "ETag", "Link"} <= set(response.headers["Access-Control-Expose-Headers"].split(", "))
    async with get.options(url) as response:
        assert response.headers["Accept-Patch"] == FRAGMENT

    fragment = "a=mid:0\r\na=candidate:1 1 UDP 2130706431 192.0.2.9 50000 typ host\r\n"
    for headers, body, status in [
        ({}, fragment, 428),
        ({"If-Match": '"other"'}, fragment, 412),
        ({"If-Match": "*"}, fragment, 422),
        ({"If-Match": viewer.etag}, "a=ice-ufrag:new\r\n" + fragment, 422),
        ({"If-Match": viewer.etag}, "a=candidate:nonsense", 400),
        ({"If-Match": viewer.etag}, "", 400),
        ({"If-Match": viewer.etag}, fragment, 204),
        ({"If-Match": viewer.etag}, "a=mid:0\r\na=end-of-candidates\r\n", 204),
    ]:
        async with get.patch(url, data=body, headers={"Content-Type": FRAGMENT, **headers}) as response:
            assert response.status == status, (headers, body)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert status == 204 or (await response.json())["message"]
    async with get.patch(url, data=fragment, headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 415
    async with get.get(url) as response:
        assert response.status == 204
    async with get.delete(url, headers={"If-Match": '"whatever"'}) as response:
        assert response.status == 200
    async with get.delete(url) as response:
        assert response.status == 410
    async with get.delete(f"{server.address}/whep/live/never") as response:
        assert response.status == 404


async def test_ice_servers_are_named_to_clients(server: Server) -> None:
    turn = IceServer(("turn:turn.example:3478",), "ann", 'pass"word')
    async with serving(Settings(ice_servers=(IceServer(("stun:stun.example",)), turn))) as other:
        async with other.session.options(f"{other.address}/whep/live") as response:
            links = response.headers.getall("Link")
        assert links[0] == '<stun:stun.example>; rel="ice-server"'
        assert 'username="ann"; credential="pass\\"word"; credential-type="password"' in links[1]
        async with other.session.get(f"{other.address}/api/ice-servers") as response:
            assert (await response.json())[1]["username"] == "ann"
    async with server.session.get(f"{server.address}/api/ice-servers") as response:
        assert await response.json() == []


async def test_too_many_peers_are_told_when_to_come_again() -> None:
    async with serving(Settings(peers=1)) as server:
        one, two = Client(server, "whep"), Client(server, "whep")
        await one.connect()
        two.connection.addTransceiver("video", "recvonly")
        await two.connection.setLocalDescription(await two.connection.createOffer())
        status, _, headers = await two.post(two.connection.localDescription.sdp)
        assert status == 503 and int(headers["Retry-After"]) > 0
        await one.delete()
        assert (await two.post(two.connection.localDescription.sdp))[0] == 201
        await one.close()
        await two.close()


@pytest.mark.serial
async def test_sound_is_as_late_as_the_pictures() -> None:
    async with serving(lag=0.4) as server:
        camera, flash = Camera(), [False]
        both = Client(server, "api/peers", camera=camera, microphone=Voice(lambda: flash[0]))
        await both.connect()
        await server.until(lambda: len(both.greys) > 10 and len(both.sounds) > 20)
        await asyncio.sleep(1.5)
        marks = len(both.greys), len(both.sounds)
        flash[0], camera.grey = True, 220
        await server.until(lambda: both.greys[-1] < 60 and both.sounds[-1][1] > 5000)
        seen = next(t for t, grey in zip(both.times[marks[0] :], both.greys[marks[0] :], strict=True) if grey < 60)
        heard = next(t for t, loud in both.sounds[marks[1] :] if loud > 5000)
        loud = [(samples, at) for samples, at in server.stream.heard if np.abs(samples).max() > 0.1]
        assert loud[0][0].shape[0] == 2 and loud[0][0].dtype == np.float32
        ends = [at + samples.shape[1] * 1_000_000_000 // 48_000 for samples, at in server.stream.heard]
        gaps = [later[1] - end for later, end in zip(server.stream.heard[1:], ends, strict=False)]
        assert np.abs(gaps[10:]).max() < 100e6 and np.median(np.abs(gaps)) < 2e6
        assert abs(seen - heard) < 0.15  # without the delay line: .4
        await both.close()
