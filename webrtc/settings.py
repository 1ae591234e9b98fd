"""What can be configured about WebRTC. Checked on construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiortc.rtcicetransport import parse_stun_turn_uri

CODECS = ("H264", "VP8")


class SettingError(ValueError):
    """A value that cannot be used. The message names the field, the value and what to do.

    Attributes:
        field, value: what was given.
        advice: what would be accepted.
    """

    def __init__(self, field: str, value: object, advice: str) -> None:
        self.field, self.value, self.advice = field, value, advice
        super().__init__(f"{field}: {value!r} cannot be used; {advice}")


@dataclass(frozen=True)
class Bitrates:
    """Of one video stream, in bits per second: `start` until the network is known, never outside `least` to `most`.

    The defaults carry 720p at 30 frames a second: `start` looks good at once on a LAN, `least` still shows a picture.
    """

    start: int = 2_000_000
    least: int = 200_000
    most: int = 6_000_000

    def __post_init__(self) -> None:
        for name in ("start", "least", "most"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 50_000 <= value <= 100_000_000:
                raise SettingError(f"bitrates.{name}", value, "give bits per second from 50000 to 100000000")
        if not self.least <= self.start <= self.most:
            raise SettingError("bitrates.start", self.start, f"give {self.least} to {self.most} (least to most)")


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server as the browser names it; TURN wants `username` and `credential`."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None

    def __post_init__(self) -> None:
        if not self.urls:
            raise SettingError("ice_servers.urls", self.urls, "give at least one stun: or turn: address")
        for url in self.urls:
            try:
                parse_stun_turn_uri(url)
            except (ValueError, TypeError):
                advice = "write stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp]"
                raise SettingError("ice_servers.urls", url, advice) from None
            if url.startswith("turn") and not (self.username and self.credential):
                raise SettingError("ice_servers.username", self.username, f"{url} wants a username and a credential")

    def to_dict(self) -> dict[str, Any]:
        """As `RTCPeerConnection` in a browser takes it."""
        login = {"username": self.username, "credential": self.credential} if self.username else {}
        return {"urls": list(self.urls), **login}


@dataclass(frozen=True)
class Settings:
    """Everything about peers.

    Attributes:
        ice_servers: STUN and TURN servers for both ends; without any, no server outside is ever asked.
        codecs: which of `CODECS` are spoken, the favourite first. A sender's other codecs are refused.
        bitrates: of video, in each direction.
        peers: most at a time.
        negotiating: most that are not yet connected.
        connect_timeout: seconds from the answer until media could flow.
        silence_timeout: seconds without anything from a peer until it counts as gone.
    """

    ice_servers: tuple[IceServer, ...] = ()
    codecs: tuple[str, ...] = CODECS
    bitrates: Bitrates = field(default_factory=Bitrates)
    peers: int = 8
    negotiating: int = 4
    connect_timeout: float = 15.0
    silence_timeout: float = 8.0

    def __post_init__(self) -> None:
        if not self.codecs or any(codec not in CODECS for codec in self.codecs):
            raise SettingError("codecs", self.codecs, f"give one or both of {', '.join(CODECS)}")
        for name, most in (("peers", 256), ("negotiating", 256)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise SettingError(name, value, f"give a whole number from 1 to {most}")
        for name in ("connect_timeout", "silence_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 120:
                raise SettingError(name, value, "give seconds from 1 to 120")
