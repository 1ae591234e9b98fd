"""What is replaced in aiortc still exists, and the replacements are in force."""

from __future__ import annotations

import importlib
import inspect
from functools import reduce

import aiortc.codecs
import aiortc.jitterbuffer
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import av
import numpy as np
import pytest
from aioice import ice
from aiortc import rtp
from aiortc.rtcdtlstransport import RTCCertificate
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters, RTCRtpParameters

from driftcam.webrtc.adjust import REPLACED, adjust
from driftcam.webrtc.adjust.jitter import JitterBuffer, is_key
from driftcam.webrtc.adjust.sending import PLAYOUT_DELAY, BitrateFollower, LiveH264, LiveVp8
from driftcam.webrtc.settings import Bitrates

BITRATES = Bitrates(start=1_000_000, least=100_000, most=4_000_000)


@pytest.mark.parametrize(("module", "name"), REPLACED)
def test_every_replaced_name_exists_in_aiortc(module: str, name: str) -> None:
    assert reduce(getattr, name.split("."), importlib.import_module(module)) is not None


def test_replacements_take_the_arguments_of_what_they_replace() -> None:
    def names(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    theirs = aiortc.jitterbuffer.JitterBuffer
    assert names(JitterBuffer)[: len(names(theirs))] == names(theirs)
    assert names(JitterBuffer.add) == names(theirs.add)
    assert names(LiveVp8.encode) == names(aiortc.codecs.Vp8Encoder.encode)
    assert names(LiveH264.encode) == names(aiortc.codecs.H264Encoder.encode)
    # The code of aiortc looks these names up where they are replaced.
    source = inspect.getsource(aiortc.rtcrtpreceiver.RTCRtpReceiver)
    assert all(f"{name}(" in source for name in ("JitterBuffer", "NackGenerator")) and "decoder_worker" in source
    assert "get_encoder(codec)" in inspect.getsource(aiortc.rtcrtpsender.RTCRtpSender)
    assert "rtp.HeaderExtensionsMap()" in inspect.getsource(aiortc.rtcrtpsender.RTCRtpSender)


def test_adjusting_twice_changes_nothing_but_the_bitrates() -> None:
    adjust(BITRATES)
    adjust(Bitrates(start=2_000_000, least=100_000, most=4_000_000))
    uris = [extension.uri for extension in aiortc.codecs.HEADER_EXTENSIONS["video"]]
    assert uris.count(PLAYOUT_DELAY) == 1
    encoder = aiortc.rtcrtpsender.get_encoder(codec("VP8"))
    assert encoder.target_bitrate == 2_000_000
    assert ice.CONSENT_INTERVAL * ice.CONSENT_FAILURES * 1.2 < 10
    certificate = RTCCertificate.generateCertificate()
    assert [f.algorithm for f in certificate.getFingerprints()] == ["sha-256"]


def test_video_packets_say_that_they_are_shown_at_once_and_still_parse() -> None:
    adjust(BITRATES)
    parameters = RTCRtpParameters(
        headerExtensions=[
            RTCRtpHeaderExtensionParameters(id=3, uri="http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
            RTCRtpHeaderExtensionParameters(id=6, uri=PLAYOUT_DELAY),
        ]
    )
    extensions = rtp.HeaderExtensionsMap()
    extensions.configure(parameters)
    packet = rtp.RtpPacket(payload_type=96, sequence_number=1, timestamp=2, payload=b"abc")
    packet.extensions.abs_send_time = 0x123456
    data = packet.serialize(extensions)
    profile, length = int.from_bytes(data[12:14]), int.from_bytes(data[14:16])
    assert dict(rtp.unpack_header_extensions(profile, data[16 : 16 + 4 * length]))[6] == b"\0\0\0"
    parsed = rtp.RtpPacket.parse(data, extensions)
    assert (parsed.extensions.abs_send_time, parsed.payload) == (0x123456, b"abc")


def codec(name: str) -> RTCRtpCodecParameters:
    return RTCRtpCodecParameters(mimeType=f"video/{name}", clockRate=90_000, payloadType=97)


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_encoders_make_decodable_pictures_keys_on_demand_and_follow_size_and_bitrate(name: str) -> None:
    adjust(BITRATES)
    encoder = aiortc.rtcrtpsender.get_encoder(codec(name))
    decoder = aiortc.codecs.get_decoder(codec(name))
    rng = np.random.default_rng(0)
    keys = []
    for number in range(12):
        width = 64 if number < 8 else 96
        image = np.full((48, width, 3), 90, np.uint8)
        image[8:24, 8:24] = rng.integers(0, 255, (16, 16, 3))
        if number == 5:
            encoder.target_bitrate = 200_000
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = number * 3000, aiortc.mediastreams.VIDEO_TIME_BASE
        payloads, timestamp = encoder.encode(frame, number == 3)
        assert timestamp == number * 3000 and all(len(payload) <= 1300 for payload in payloads)
        data = b"".join(aiortc.codecs.depayload(codec(name), payload) for payload in payloads)
        keys += [number] if is_key(data) else []
        encoded = aiortc.jitterbuffer.JitterFrame(data, timestamp)
        (decoded,) = decoder.decode(encoded)
        grey = decoded.to_ndarray(format="rgb24")[40:, -20:]
        assert decoded.width == width and abs(grey.astype(int) - 90).max() < 12
    assert {0, 3, 8} <= set(keys) and len(keys) <= 4  # VP8 begins anew for another bitrate


def test_a_bitrate_falls_soon_rises_calmly_and_does_not_follow_trifles() -> None:
    follower = BitrateFollower(BITRATES)
    follower.aim(1_050_000)
    assert not follower.follow(0.0)
    follower.aim(500_000)
    assert follower.follow(0.1) and follower.current == 500_000
    follower.aim(3_000_000)
    assert not follower.follow(4.0)
    assert follower.follow(5.2) and follower.current == 3_000_000
    follower.aim(50)
    assert follower.target == BITRATES.least
    follower.aim(10**9)
    assert follower.target == BITRATES.most
