"""A UDP relay between two WebRTC ends that loses packets: the machine's kernel need not be able to."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Address = tuple[str, int]


class Relay:
    """One socket towards the client, one towards the server. `loss`: share of packets lost, each way."""

    def __init__(self, server: Address, loss: float, seed: int = 1) -> None:
        self.loss, self.lost, self.passed = loss, 0, 0
        self._server, self._client = server, None
        self._random = random.Random(seed)

    async def start(self, host: str) -> Address:
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(lambda: _Side(self._from_client), (host, 0))
        self._back, _ = await loop.create_datagram_endpoint(lambda: _Side(self._from_server), (host, 0))
        return self._front.get_extra_info("sockname")[:2]

    def close(self) -> None:
        self._front.close()
        self._back.close()

    def _from_client(self, data: bytes, sender: Address) -> None:
        self._client = sender  # type: ignore[assignment]
        self._pass(self._back, data, self._server)

    def _from_server(self, data: bytes, sender: Address) -> None:
        if self._client is not None:
            self._pass(self._front, data, self._client)

    def _pass(self, way: asyncio.DatagramTransport, data: bytes, to: Address) -> None:
        # What sets the connection up (STUN, DTLS) is let through: this is about media.
        if data[0] >= 128 and self._random.random() < self.loss:
            self.lost += 1
        else:
            self.passed += 1
            way.sendto(data, to)


class _Side(asyncio.DatagramProtocol):
    def __init__(self, got) -> None:
        self._got = got

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._got(data, addr)


@asynccontextmanager
async def relayed(answer: str, loss: float) -> AsyncIterator[tuple[Relay, str]]:
    """A relay to the server of `answer`, and the answer that leads through it."""
    candidates = re.findall(r"a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host.*", answer)
    host, port = candidates[0]
    relay = Relay((host, int(port)), loss)
    there, through = await relay.start(host)
    lines = [line for line in answer.splitlines() if not line.startswith("a=candidate")]
    first = next(i for i, line in enumerate(lines) if line.startswith("a=ice-ufrag"))
    lines.insert(first, f"a=candidate:1 1 udp 2130706431 {there} {through} typ host")
    try:
        yield relay, "\r\n".join(lines) + "\r\n"
    finally:
        relay.close()


def without_candidates(offer: str) -> str:
    """The server can only learn of the client through the relay."""
    return "\r\n".join(line for line in offer.splitlines() if "candidate" not in line) + "\r\n"
