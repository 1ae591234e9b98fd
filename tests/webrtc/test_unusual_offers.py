"""Offers as other programs make them: used where they can be, else refused with words, and nothing is left."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from aiortc import RTCCertificate, RTCPeerConnection
from aiortc.rtcdtlstransport import generate_certificate
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from driftcam.webrtc.operation import Refused
from driftcam.webrtc.sdp import Role, read_offer, with_formats
from tests.webrtc.conftest import Camera, Client, Server

Make = Callable[..., Client]
FFMPEG_8_0 = """v=0
o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
s=FFmpegPublishSession
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=video 9 UDP/TLS/RTP/SAVPF 106
c=IN IP4 0.0.0.0
a=ice-ufrag:3f4a11aa
a=ice-pwd:11112222333344445555666677778888
a=fingerprint:sha-256 4E:7F:77:DB:7E:A3:A6:4E:5D:27:EB:39:D2:1B:96:9F:91:C9:58:8B:30:B4:AA:0F:77:60:5A:F3:86:60:03:F3
a=setup:passive
a=mid:1
a=sendonly
a=msid:FFmpeg video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f
a=ssrc:123 cname:FFmpeg
a=ssrc:123 msid:FFmpeg video
""".replace("\n", "\r\n")
"""What its WHIP muxer sends of a video without sound."""


@pytest.mark.parametrize(
    ("bundle", "named"), [("0 1", "0"), ("1 0", "0"), ("7", "7"), ("a b 1", "a, b"), ("1 1 2", "2")]
)
async def test_a_bundle_of_media_that_are_not_there_is_refused_with_words(
    client: Make, server: Server, bundle: str, named: str
) -> None:
    for _ in range(server.peers.settings.peers + 1):  # none takes a place
        status, text, _ = await client("whip").post(FFMPEG_8_0.replace("BUNDLE 0 1", f"BUNDLE {bundle}"))
        assert status == 400 and f"BUNDLE names {named}, which no media has as its mid (1)" in text
    assert server.stream.members == 0 and await server.peers.status() == []


async def test_an_offer_without_bundle_is_taken(client: Make, server: Server) -> None:
    sender = client("whip")
    status, text, headers = await sender.post(FFMPEG_8_0.replace("a=group:BUNDLE 0 1\r\n", ""))
    assert status == 201 and "H264" in text
    sender.location = headers["Location"]
    assert await sender.delete() == 200


async def test_whatever_the_library_raises_while_it_closes_our_places_become_free(
    client: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = RTCPeerConnection.close

    async def failing(self: RTCPeerConnection) -> None:
        await close(self)
        raise AttributeError("'NoneType' object has no attribute 'stop'")

    both = await client("api/peers", camera=Camera()).connect()
    monkeypatch.setattr(RTCPeerConnection, "close", failing)
    assert len(server.stream.listeners) == 1
    assert await both.delete() == 200
    assert server.stream.members == 0 and server.stream.listeners == set() and await server.peers.status() == []
    async with server.session.get(server.address + both.location) as response:
        assert response.status == 410
    monkeypatch.undo()


@pytest.mark.parametrize("error", [RuntimeError("unexpected"), IndexError(), OSError("none")])
async def test_whatever_the_library_raises_over_an_offer_is_a_400(
    client: Make, server: Server, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def failing(self: RTCPeerConnection, description: object) -> None:
        raise error

    offer = FFMPEG_8_0.replace("BUNDLE 0 1", "BUNDLE 1")
    monkeypatch.setattr(RTCPeerConnection, "setRemoteDescription", failing)
    status, text, _ = await client("whip").post(offer)
    assert status == 400 and "could not be used" in text and server.stream.members == 0


class Says(Client):
    """Says of its H.264 what `format` is, nothing where it is empty; aiortc itself would not take that back."""

    format = ""

    async def post(self, offer: str, name: str = "live") -> tuple[int, str, Mapping[str, str]]:
        said = re.findall(r"^a=fmtp:(\d+) (.*profile-level-id.*)\r\n", offer, flags=re.MULTILINE)
        for number, known in said:
            line = f"a=fmtp:{number} {self.format}\r\n" if self.format else ""
            offer = offer.replace(f"a=fmtp:{number} {known}\r\n", line)
        status, answer, headers = await super().post(offer, name)
        self.answered = answer
        for number, known in said:
            answer = re.sub(rf"^a=fmtp:{number} .*\r\n", f"a=fmtp:{number} {known}\r\n", answer, flags=re.MULTILINE)
        return status, answer, headers


@pytest.mark.parametrize(
    "said",
    [
        "",
        "packetization-mode=0",
        "packetization-mode=1;profile-level-id=640032",
        "packetization-mode=0;profile-level-id=42e01f",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d0028;sprop-parameter-sets=Z00AKA==,aO48gA==",
        "profile-level-id=f4001f",
        "profile-level-id=nonsense",
    ],
)
async def test_h264_of_any_profile_is_taken_and_shown(server: Server, said: str) -> None:
    both = Says(server, "api/peers", camera=Camera(), codec="H264")
    both.format = said
    try:
        await both.connect()
        await server.until(lambda: len(both.greys) > 3 and server.stream.frames > 3)
        answered = [line for line in both.answered.splitlines() if line.startswith("a=fmtp:") and "apt=" not in line]
        assert len(answered) == 1 and answered[0].endswith("x-google-start-bitrate=2000")
        assert all(part in answered[0] for part in said.split(";"))
        assert ("profile-level-id" in answered[0]) == ("profile-level-id" in said)
    finally:
        await both.close()


def test_an_offer_with_h264_that_is_known_is_left_as_it_is() -> None:
    offer = read_offer(FFMPEG_8_0.replace("BUNDLE 0 1", "BUNDLE 1"), Role.PUBLISHER)
    assert offer.formats == {} and "profile-level-id=42c01f" in offer.text


@given(st.lists(st.sampled_from(["profile-level-id=640032", "packetization-mode=0", "\\1", "["]), max_size=4))
def test_what_an_offer_said_of_its_h264_is_what_the_answer_says(parts: list[str]) -> None:
    said = ";".join(parts)
    line = "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f"
    text = FFMPEG_8_0.replace("BUNDLE 0 1", "BUNDLE 1").replace(line, f"a=fmtp:106 {said}")
    try:
        offer = read_offer(text, Role.PUBLISHER)
    except Refused:
        return
    assert offer.text.count("a=fmtp:106 ") == 1
    if offer.formats:
        assert "profile-level-id=42e01f" in offer.text
    assert with_formats(offer.text, offer.formats).count(said) >= 1


async def test_a_certificate_that_openssl_does_not_take_is_named_as_the_reason(client: Make, server: Server) -> None:
    """FFmpeg with GnuTLS makes one on the curve P-224 when it is given none."""
    key = ec.generate_private_key(ec.SECP224R1())
    both = client("api/peers", camera=Camera())
    both.connection._RTCPeerConnection__certificates[:] = [RTCCertificate(key=key, cert=generate_certificate(key))]
    await both.connect()
    await server.until(lambda: server.stream.members == 0)
    async with server.session.get(server.address + both.location) as response:
        assert response.status == 410
        assert "(DTLS) could not be agreed on: certificates may be P-256" in (await response.json())["message"]


@pytest.mark.parametrize("role", ["whip", "whep"])
async def test_a_slash_behind_the_address_does_no_harm(client: Make, server: Server, role: str) -> None:
    peer = await client(role, camera=Camera() if role == "whip" else None).connect("live/")
    assert peer.location.startswith(f"/{role}/live/")
    async with server.session.options(f"{server.address}/{role}/") as response:
        assert response.status == 204
    peer.location += "/"
    assert await peer.delete() == 200
