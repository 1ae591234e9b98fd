"""Bus messages over a Unix stream socket, from the event loop: reading waits, sending never does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Sequence

from driftcam.engines.api.bus import Decoder, Message, encode

CHUNK = 64 * 1024
MAX_BACKLOG = 1024 * 1024  # bytes that a peer may leave unread; a living one reads within milliseconds


class Wire:
    """One end of a connection. `sock` belongs to it from now on."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder()
        self._backlog: deque[tuple[bytes, list[int]]] = deque()
        self._reading = self._waiting = False
        self.closed = False

    async def read(self) -> list[Message] | None:
        """The next messages, perhaps none; None when the peer has gone away or this end was closed.

        Raises `BusError` at the first byte that breaks the protocol.
        """
        if self.closed:
            return None
        self._reading = True
        try:
            data = await self._loop.sock_recv(self._sock, CHUNK)
        except OSError:
            data = b""
        finally:
            self._reading = False
            if self.closed:
                self._sock.close()
        return list(self._decoder.feed(data)) if data and not self.closed else None

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send now or, while the peer is slow, a little later; too slow a peer is cut off. Takes over `fds`."""
        if self.closed:
            _close_all(fds)
            return
        self._backlog.append((encode(message), list(fds)))
        if len(self._backlog) == 1:
            self._flush()
        elif sum(len(data) for data, _ in self._backlog) > MAX_BACKLOG:
            self.close()

    def close(self) -> None:
        """Hang up; whoever reads sees the end."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_writer(self._sock)
        for _, fds in self._backlog:
            _close_all(fds)
        self._backlog.clear()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if not self._reading:
            self._sock.close()

    def _flush(self) -> None:
        try:
            while self._backlog:
                data, fds = self._backlog[0]
                sent = socket.send_fds(self._sock, [data], fds) if fds else self._sock.send(data)
                _close_all(fds)
                self._backlog[0] = data[sent:], []
                if sent == len(data):
                    self._backlog.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._flush)
            self._waiting = True
        except OSError:
            self.close()  # the peer is gone
        else:
            if self._waiting:
                self._loop.remove_writer(self._sock)
                self._waiting = False


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
