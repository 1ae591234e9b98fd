"""Offers, answers and candidates as text: what is accepted, and what is changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from aiortc import sdp
from aiortc.codecs import CODECS
from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.rtcpeerconnection import is_codec_compatible

from driftcam.webrtc.operation import Refused

MOST_BYTES = 64 * 1024
MOST_CANDIDATES = 64
KINDS = ("video", "audio")
_H264 = [codec for codec in CODECS["video"] if codec.name == "H264"]


class Role(StrEnum):
    """What a peer is here for."""

    PUBLISHER = "whip"  # its media comes in
    VIEWER = "whep"  # results go out
    BOTH = "peers"


DIRECTIONS = {Role.PUBLISHER: "recvonly", Role.VIEWER: "sendonly", Role.BOTH: "sendrecv"}
_OURS = {  # what we can do when the offer's direction is the key
    "sendonly": {"recvonly"},
    "recvonly": {"sendonly"},
    "sendrecv": {"recvonly", "sendonly", "sendrecv"},
    "inactive": set(),
}


@dataclass(frozen=True)
class Offer:
    """An offer that passed the checks.

    Attributes:
        text: as it was sent, less what would make us wait: names only multicast DNS knows (a browser that hides its
            addresses finds us all the same), and the end of the candidates.
            H.264 of which nothing is known or that no encoder here makes is given as what aiortc knows.
        directions: ours, for each of its media in order: (kind, direction).
        ufrag: its ICE user name, which candidates that come later repeat.
        formats: by payload type, the parameters of the H.264 that `text` describes otherwise; "" is none.
    """

    text: str
    directions: tuple[tuple[str, str], ...]
    ufrag: str
    formats: Mapping[int, str] = field(default_factory=dict)


def read_offer(text: str, role: Role) -> Offer:
    """Raises `Refused` for anything that cannot become a connection of this role."""
    if len(text) > MOST_BYTES:
        raise Refused(413, f"the offer has more than {MOST_BYTES} bytes")
    try:
        description = sdp.SessionDescription.parse(text)
    except Exception:  # the parser raises whatever it stumbles over
        raise Refused(400, "this is not a session description (SDP)") from None
    media = description.media
    if not media:
        raise Refused(400, "the offer has no media")
    kinds = [m.kind for m in media]
    if any(kinds.count(kind) > 1 for kind in kinds) or any(kind not in KINDS for kind in kinds):
        raise Refused(422, "offer at most one video and one audio")
    for m in media:
        if not m.ice or not m.ice.usernameFragment or not m.ice.password or not m.dtls or not m.dtls.fingerprints:
            raise Refused(400, f"the offer lacks ICE credentials or a fingerprint for {m.kind}")
        if len(m.ice_candidates) > MOST_CANDIDATES:
            raise Refused(422, f"the offer has more than {MOST_CANDIDATES} candidates")
        for candidate in m.ice_candidates:
            _check_candidate(candidate)
    _check_bundle(description)
    directions = tuple((m.kind, _our_direction(m.direction or "sendrecv", role)) for m in media)
    if role is not Role.VIEWER and not any(d in ("recvonly", "sendrecv") for k, d in directions if k == "video"):
        raise Refused(422, "offer a video to send")
    if role is not Role.PUBLISHER and not any(d in ("sendonly", "sendrecv") for k, d in directions if k == "video"):
        raise Refused(422, "offer to receive a video")
    assert media[0].ice is not None
    text, formats = _with_known_h264(_without_waiting(text), media)
    return Offer(text, directions, media[0].ice.usernameFragment or "", formats)


def _check_bundle(description: sdp.SessionDescription) -> None:
    """aiortc looks for the media that carries all others, and closes what it finds none for."""
    known = [m.rtp.muxId for m in description.media]
    for group in description.group:
        unknown = [mid for mid in map(str, group.items) if mid not in known]
        if group.semantic == "BUNDLE" and unknown:
            named, have = ", ".join(unknown[:4])[:80], ", ".join(filter(None, known)) or "none"
            advice = "send video and sound, or no BUNDLE (FFmpeg 8.0 names two always)"
            raise Refused(400, f"the offer's BUNDLE names {named}, which no media has as its mid ({have}); {advice}")


def _with_known_h264(text: str, media: Sequence[sdp.MediaDescription]) -> tuple[str, dict[int, str]]:
    """The decoder takes every profile and packetization, and who shows High shows what we send (its constrained
    baseline): an offer of others alone is given in the words that aiortc accepts. Returns what it said, too."""
    offered = [codec for m in media if m.kind == "video" for codec in m.rtp.codecs if codec.name.upper() == "H264"]
    if not offered or any(is_codec_compatible(ours, theirs) for ours in _H264 for theirs in offered):
        return text, {}
    formats, known = {}, sdp.parameters_to_sdp(_H264[-1].parameters)
    for number in (codec.payloadType for codec in offered if codec.payloadType is not None):
        said = re.compile(rf"^a=fmtp:{number} (.*)\r\n", re.MULTILINE)
        formats[number] = "".join(said.findall(text)[:1])
        named = re.compile(rf"^a=rtpmap:{number} .*\r\n", re.MULTILINE)
        text = named.sub(rf"\g<0>a=fmtp:{number} {known}\r\n", said.sub("", text))
    return text, formats


def with_formats(answer: str, formats: Mapping[int, str]) -> str:
    """`answer`, with the parameters that the offer had for these payload types."""
    for number, said in formats.items():
        line = f"a=fmtp:{number} {said}\r\n".replace("\\", r"\\") if said else ""
        answer = re.sub(rf"^a=fmtp:{number} .*\r\n", line, answer, flags=re.MULTILINE)
    return answer


def _our_direction(theirs: str, role: Role) -> str:
    """As much of what the role is for as the offer allows."""
    ours = DIRECTIONS[role]
    allowed = _OURS[theirs]
    if ours in allowed:
        return ours
    return next((d for d in ("recvonly", "sendonly") if ours == "sendrecv" and d in allowed), "inactive")


def with_start_bitrate(answer: str, start: int) -> str:
    """`answer`, asking the sender of video to begin at `start` bits per second (a hint that browsers on libwebrtc
    take; `x-google-min-bitrate` is not used: it keeps a sender from giving way)."""
    lines, is_video = [], False
    hint = f"x-google-start-bitrate={start // 1000}"
    formats = set(re.findall(r"^a=fmtp:(\d+) ", answer, re.MULTILINE))
    for line in answer.splitlines():
        if line.startswith("m="):
            is_video = line.startswith("m=video")
        if is_video and re.match(r"a=fmtp:\d+ (?!apt=)", line):
            line = f"{line};{hint}"
        lines.append(line)
        match = re.match(r"a=rtpmap:(\d+) (VP8|H264)/", line)
        if is_video and match and match[1] not in formats:
            lines.append(f"a=fmtp:{match[1]} {hint}")
    return "\r\n".join(lines) + "\r\n"


def _without_waiting(offer: str) -> str:
    lines = offer.splitlines()
    kept = [line for line in lines if not re.match(r"a=end-of-candidates|a=candidate:.*\.local\b", line)]
    return "\r\n".join(kept) + "\r\n"


def read_fragment(text: str, ufrag: str) -> list[RTCIceCandidate]:
    """Candidates that come after the offer (`application/trickle-ice-sdpfrag`, RFC 8840). Raises `Refused`."""
    if len(text) > MOST_BYTES:
        raise Refused(413, f"the fragment has more than {MOST_BYTES} bytes")
    candidates: list[RTCIceCandidate] = []
    mid, index, ends = None, -1, False
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if name == "a=ice-ufrag" and value != ufrag:
            raise Refused(422, "ICE restarts are not supported; connect anew")
        if line.startswith("m="):
            mid, index = None, index + 1
        elif name == "a=mid":
            mid = value
        elif name == "a=end-of-candidates":
            ends = True
        elif name == "a=candidate":
            candidate = _candidate(value)
            candidate.sdpMid, candidate.sdpMLineIndex = mid, max(index, 0)
            candidates.append(candidate)
    if len(candidates) > MOST_CANDIDATES:
        raise Refused(422, f"the fragment has more than {MOST_CANDIDATES} candidates")
    if not candidates and not ends:
        raise Refused(400, "the fragment has no candidates")
    return [c for c in candidates if c.protocol.lower() == "udp" and not c.ip.endswith(".local")]


def _candidate(value: str) -> RTCIceCandidate:
    try:
        candidate = sdp.candidate_from_sdp(value)
    except Exception:  # as above
        raise Refused(400, f"this is not a candidate: {value[:80]!r}") from None
    _check_candidate(candidate)
    return candidate


def _check_candidate(candidate: RTCIceCandidate) -> None:
    name = re.fullmatch(r"[0-9A-Fa-f:.]{2,45}|[0-9A-Za-z-]{1,63}\.local", candidate.ip)
    if not 0 < candidate.port < 65536 or not name or not 0 <= candidate.priority < 1 << 32:
        raise Refused(400, f"this is not a candidate: {candidate.ip[:50]!r} port {candidate.port}")
