"""All peers of the program: who may join, who takes over, what is known about those who left."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from driftcam.webrtc.adjust import adjust
from driftcam.webrtc.audio import Microphone
from driftcam.webrtc.operation import Refused
from driftcam.webrtc.peer import Peer
from driftcam.webrtc.sdp import Role, read_offer
from driftcam.webrtc.settings import Settings
from driftcam.webrtc.stream import Streams

REMEMBERED = 64
RETRY_AFTER = 5


class Peers:
    """Bounded in number; a new publisher of a stream takes over from the one before."""

    def __init__(self, streams: Streams, settings: Settings) -> None:
        adjust(settings.bitrates)
        self.settings = settings
        self._streams = streams
        self._peers: dict[str, Peer] = {}
        self._microphones: dict[str, Microphone] = {}
        self._ended: OrderedDict[str, Refused] = OrderedDict()  # what is said of those who left last
        self._negotiating = 0

    async def connect(self, role: Role, name: str, text: str) -> tuple[Peer, str]:
        """A new peer and the answer to its offer. Raises `Refused`."""
        offer = read_offer(text, role)
        waiting = self._negotiating + sum(not peer.connected for peer in self._peers.values())
        if len(self._peers) + self._negotiating >= self.settings.peers:
            raise Refused(503, f"there are {self.settings.peers} peers already", retry_after=RETRY_AFTER)
        if waiting >= self.settings.negotiating:
            raise Refused(503, "too many peers are connecting", retry_after=RETRY_AFTER)
        self._negotiating += 1
        try:
            stream = await self._streams.join(name, publishes=role is not Role.VIEWER)
            try:
                microphone = self._microphones.setdefault(name, Microphone())
                peer = Peer(role, name, stream, microphone, self.settings, self._forget)
            except BaseException:
                await stream.leave()
                raise
            answer = await peer.answer(offer)
        finally:
            self._negotiating -= 1
        if peer.reason:  # it has ended while it was answered
            raise Refused(400, peer.reason)
        if peer.publishes:
            for other in list(self._peers.values()):
                if other.publishes and other.name == name:
                    other.replaced = True
                    other.end("another camera took over")
        self._peers[peer.id] = peer
        return peer, answer

    def find(self, role: Role, name: str, identity: str) -> Peer:
        """Raises `Refused`: 404 for a peer that never was, 410 with the reason for one that has ended."""
        peer = self._peers.get(identity)
        if peer is not None and (peer.role, peer.name) == (role, name):
            return peer
        if identity in self._ended:
            raise self._ended[identity]
        raise Refused(404, "there is no such peer")

    async def status(self) -> list[dict[str, Any]]:
        return [await peer.status() for peer in list(self._peers.values())]

    async def close(self) -> None:
        await asyncio.gather(*(peer.close("Driftcam is ending") for peer in list(self._peers.values())))

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.id, None)
        if not any(other.name == peer.name for other in self._peers.values()):
            self._microphones.pop(peer.name, None)
        self._ended[peer.id] = Refused(410, peer.reason, field="source" if peer.replaced else None)
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
