"""The frame bus: any program of the same user becomes a source, a sink or a filter (docs/bus.md)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from driftcam.daemon import background
from driftcam.daemon.bus import socket as bus_socket
from driftcam.daemon.bus.hello import Hello, parse_hello
from driftcam.daemon.bus.peer import BusPeer, Presets
from driftcam.daemon.session.ingest import Lease
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.sessions import Sessions
from driftcam.daemon.wire import Wire
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import BusError, Message, MessageType

HELLO_PATIENCE = 5.0  # seconds from a connection to its HELLO
PLACE_PATIENCE = 0.5  # seconds for which a source waits for that before it to go
MOST_CLIENTS = 32
THREADS = 2  # that convert pixels


class NoPresets:
    """Where nobody keeps any."""

    def names(self) -> list[str]:
        return []

    def load(self, name: str) -> dict[str, Any]:
        raise ParameterError("preset", name, "there are no presets here")


class BusServer:
    """From `start` to `close`.

    Args:
        sessions: clients join them, or open further ones that end with their last client.
        defaults: asked for the parameters that a client's own session starts with.
        presets: that clients may apply.
        notice: asked for the newest line for people.
        page: asked for the address of the control page.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        defaults: Callable[[], Parameters] = Parameters,
        presets: Presets | None = None,
        notice: Callable[[], str] = lambda: "",
        page: Callable[[], str] = lambda: "",
    ) -> None:
        self._sessions, self._defaults, self._presets = sessions, defaults, presets or NoPresets()
        self._notice, self._page = notice, page
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="driftcam-bus")
        self._tasks: set[asyncio.Task[None]] = set()
        self._own: set[Session] = set()  # opened by clients
        self._socket: socket.socket | None = None
        self._path = Path()
        self.clients: set[BusPeer] = set()

    def start(self, folder: Path | None = None) -> Path:
        """Listen; returns the socket's path. Raises `ParameterError` (see `bus_socket.listen`)."""
        self._socket, self._path = bus_socket.listen(folder)
        self._start(background.keep(partial(self._accept, self._socket), "the frame bus"))
        return self._path

    async def close(self) -> None:
        """Hang up on everybody."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)
        self._threads.shutdown(wait=False)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError:  # no descriptor left: those who are connected must go on
                await asyncio.sleep(0.1)
                continue
            wire = Wire(sock)
            if not bus_socket.same_user(sock):
                wire.close()
            elif len(self._tasks) > MOST_CLIENTS:
                _refuse(wire, ParameterError("bus", "full", f"there are {MOST_CLIENTS} clients already"))
            else:
                self._start(background.start(self._serve(wire), "a client of the frame bus"))

    async def _serve(self, wire: Wire) -> None:
        """One client, from HELLO to its end. What it does wrong is told to it and to nobody else."""
        try:
            hello = await self._hello(wire)
            async with self._session(hello) as (session, lease):
                peer = BusPeer(
                    *(wire, hello, session, lease),
                    threads=self._threads,
                    presets=self._presets,
                    notice=self._notice,
                    page=self._page,
                )
                self.clients.add(peer)
                try:
                    await peer.run()
                finally:
                    self.clients.discard(peer)
        except ParameterError as error:
            _refuse(wire, error)
        except (BusError, TimeoutError) as error:
            _refuse(wire, ParameterError("bus", "message", str(error) or "say HELLO"))
        except Exception:
            _refuse(wire, ParameterError("bus", "message", "the daemon made a mistake; its log says more"))
            raise
        finally:
            wire.close()

    async def _hello(self, wire: Wire) -> Hello:
        """Raises `BusError`, `ParameterError` or `TimeoutError`."""
        async with asyncio.timeout(HELLO_PATIENCE):
            messages: list[Message] | None = []
            while messages == []:
                messages = await wire.read()
        if not messages:
            raise BusError("the client went away")
        if len(messages) > 1 or messages[0].type is not MessageType.HELLO:
            raise BusError(f"expected HELLO alone, not {messages[-1].type.name}")
        return parse_hello(messages[0].body, self._defaults())

    @contextlib.asynccontextmanager
    async def _session(self, hello: Hello) -> AsyncIterator[tuple[Session, Lease | None]]:
        """The session that a client joins or opens, and its place as one that gives frames. Raises `ParameterError`."""
        if hello.role.gives:
            await self._wait_for_place(hello.session)
        session = self._sessions.get(hello.session)
        if session is None:
            if not hello.role.gives:
                names = ", ".join(session.name for session in self._sessions) or "none is open"
                raise ParameterError("session", hello.session, f"there is no such session ({names})")
            session = self._sessions.open(hello.session, hello.parameters, own_size=hello.own_size)
            self._own.add(session)
        try:
            with session.ingest.claim(hello.name) if hello.role.gives else contextlib.nullcontext() as lease:
                yield session, lease
        finally:
            await self._end_unused(session)

    async def _wait_for_place(self, name: str) -> None:
        """A client that comes again finds its place free as soon as its old connection is seen to be gone."""
        end = time.monotonic() + PLACE_PATIENCE
        while (session := self._sessions.get(name)) is not None and not session.ingest.free and time.monotonic() < end:
            await asyncio.sleep(0.02)

    async def _end_unused(self, session: Session) -> None:
        others = [peer for peer in self.clients if peer.session is session]
        if session in self._own and not others:
            self._own.discard(session)
            await self._sessions.close(session.name)

    def _start(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _refuse(wire: Wire, error: ParameterError) -> None:
    wire.send(Message(MessageType.ERROR, body=error.to_wire()))
    wire.close()
