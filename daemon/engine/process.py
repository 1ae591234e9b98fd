"""One engine process, from spawn to its end, seen from the daemon's event loop: an `EngineLink`. Never reused."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from driftcam.daemon import background
from driftcam.daemon.engine.link import EngineGone, Listener
from driftcam.daemon.engine.port import Port
from driftcam.daemon.measure import is_stopped, oom_kills
from driftcam.daemon.wire import Wire
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import MAX_PLANES, SLOTS, BusError, Message, MessageType, SlotPool, create_memory
from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.parameters import SIZE_RANGE
from driftcam.engines.api.planes import Plane

log = logging.getLogger("driftcam.engine")

SLOT_BYTES = SIZE_RANGE[1] ** 2 * 3 * (2 + MAX_PLANES)  # taken only as far as it is written
STDERR_TAIL = 4096


def worker_command(engine: str | None = None, options: EngineOptions | None = None) -> list[str]:
    """How the engine process is started; `engine` is MODULE:CLASS of another one than ours."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "driftcam.engines.worker",
        "--options",
        (options or EngineOptions()).to_json(),
    ]
    return [*command, "--engine", engine] if engine else command


class Child(Protocol):
    """What is used of an `asyncio.subprocess.Process`."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    @property
    def stderr(self) -> asyncio.StreamReader | None: ...

    def kill(self) -> None: ...

    async def wait(self) -> int: ...


async def spawned(command: Sequence[str], stderr: int) -> tuple[asyncio.subprocess.Process, socket.socket]:
    """A process, and our end of the socket that it finds as `--bus-fd`."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *command,
            *("--bus-fd", str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C is for the daemon, which ends the engine in its own time
        )
    return process, ours


class EngineProcess:
    """A worker and the daemon's end of its bus: `spawn`, `ready`, `open` streams, finally `close`.

    Attributes:
        ports: of the open streams, by number.
        gone: done when the process has ended; its result is the reason.
        born: monotonic seconds of its start.
    """

    def __init__(self, process: Child, sock: socket.socket) -> None:
        self._process, self._wire = process, Wire(sock)
        self._requests: dict[int, tuple[float, MessageType, asyncio.Future[Message]]] = {}
        self._numbers = itertools.count(1)
        self._stderr = b""
        self._last_error = ""
        self._oom_kills = oom_kills()
        self._hello = asyncio.Event()
        self._last_reply = 0.0
        self.ports: dict[int, Port] = {}
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.born = time.monotonic()
        self._tasks = [background.start(self._collect_stderr(), "the engine's log"), asyncio.create_task(self._read())]

    @classmethod
    async def spawn(cls, command: Sequence[str]) -> EngineProcess:
        """Start the process; it loads its libraries while the caller prepares the rest."""
        return cls(*await spawned(command, asyncio.subprocess.PIPE))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self.gone.done()

    @property
    def suspended(self) -> bool:
        return self._preparing and is_stopped(self.pid)

    @property
    def results_held(self) -> int:
        return sum(port.results_held for port in self.ports.values())

    @property
    def _preparing(self) -> bool:
        """It loads its libraries or opens a stream."""
        opening = any(kind is MessageType.OPEN for _, kind, _ in self._requests.values())
        return opening or not self._hello.is_set()

    @property
    def owing_since(self) -> float | None:
        """Monotonic seconds of the oldest frame or request that the engine has not dealt with, if it should have."""
        if self._preparing:
            return None  # which has time limits of its own
        asked = [since for since, _, _ in self._requests.values()]
        frames = [port.owing_since for port in self.ports.values() if port.owing_since is not None]
        return min([*asked, *frames], default=None)

    @property
    def last_heard(self) -> float:
        """Monotonic seconds at which it last got something done, or a result was taken from it."""
        # When a stream is ready, frames and requests may have waited for it for long.
        return max([self._last_reply, *(port.last_heard for port in self.ports.values())])

    async def ready(self, timeout: float) -> None:
        """Wait until its libraries are loaded. Raises `EngineGone` where it does not come up."""
        try:
            async with asyncio.timeout(timeout):
                await self._hello.wait()  # the end of the process sets it, too
        except TimeoutError:
            raise EngineGone(f"it was not ready after {timeout:g} s") from None
        if not self.alive:
            raise EngineGone(self.gone.result())

    async def open(
        self,
        number: int,
        parameters: Parameters,
        live: bool,
        listener: Listener,
        timeout: float,
        *,
        auto_size: bool = False,
    ) -> tuple[Port, dict[str, Any]]:
        """See `EngineLink`."""
        fds = [create_memory(SLOTS, SLOT_BYTES) for _ in range(2)]
        source, sink = (SlotPool(fd, SLOTS, SLOT_BYTES) for fd in fds)
        port = self.ports[number] = Port(number, (source, sink), self._wire.send, self.ask, self._forget, listener)
        body = {"slots": SLOTS, "slot_bytes": SLOT_BYTES, "live": live, "parameters": parameters.to_dict()}
        body["auto_size"] = auto_size
        try:
            async with asyncio.timeout(timeout):
                reply = await self.ask(Message(MessageType.OPEN, stream=number, body=body), fds)
        except TimeoutError:
            self.end(f"a stream was not ready after {timeout:g} s")
            raise EngineGone(self._last_error) from None
        except ParameterError:
            self._forget(port)
            raise
        planes = [Plane.from_dict(described) for described in reply.body.get("planes", [])]
        port.planes = {plane.name: plane for plane in planes}
        return port, reply.body

    async def ask(self, message: Message, fds: Sequence[int] = ()) -> Message:
        """Send a request and wait for the answer. Raises `ParameterError` or `EngineGone`. Takes over `fds`."""
        if not self.alive:
            for fd in fds:
                os.close(fd)
            raise EngineGone(self.gone.result())
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._requests[number] = time.monotonic(), message.type, answer
        self._wire.send(dataclasses.replace(message, sequence=number), fds)
        try:
            return await answer
        finally:
            self._requests.pop(number, None)

    def end(self, reason: str) -> None:
        """End it now; `gone` will say `reason`."""
        self._last_error = reason
        if self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """Let it end (it does when the socket closes), or end it; free everything."""
        self._last_error = self._last_error or "it was closed"
        if not self._hello.is_set():
            self.end(self._last_error)  # it may be busy loading libraries and would not notice
        self._wire.close()
        try:
            async with asyncio.timeout(2):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._ended()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for port in self.ports.values():
            port.free()
        self.ports.clear()

    def _forget(self, port: Port) -> None:
        del self.ports[port.number]
        port.end()
        port.free()

    async def _read(self) -> None:
        try:
            while (messages := await self._wire.read()) is not None:
                for message in messages:
                    self._receive(message)
        except BusError as error:
            self.end(f"it broke the bus protocol: {error}")
        except Exception as error:
            log.exception("reading from the engine failed")
            self.end(f"it sent what could not be read ({error!r})")
        await self._ended()

    def _receive(self, message: Message) -> None:
        if not self._hello.is_set() and message.type is not MessageType.ERROR:
            if message.type is not MessageType.HELLO:
                raise BusError(f"it said {message.type.name} instead of HELLO")
            self._hello.set()
            return
        match message.type:
            case MessageType.RELEASE | MessageType.RESULT:
                if (port := self.ports.get(message.stream)) is not None:  # else it was closed meanwhile
                    port.receive(message)
            case MessageType.REPLY:
                self._last_reply = time.monotonic()
                self._resolve(message)
            case MessageType.ERROR:
                if not self._resolve(message):
                    self._last_error = str(message.body.get("text", ""))
            case _:
                raise BusError(f"an engine does not send {message.type.name}")

    def _resolve(self, message: Message) -> bool:
        _, _, answer = self._requests.get(message.sequence, (0.0, None, None))
        if answer is None or answer.done():
            return False
        if message.type is MessageType.ERROR:
            answer.set_exception(ParameterError.from_wire(message.body))
        else:
            answer.set_result(message)
        return True

    async def _ended(self) -> None:
        if not self.alive:
            return
        reason = await self._reason()
        if not self.alive:  # told meanwhile
            return
        self.gone.set_result(reason)
        self._hello.set()
        for _, _, answer in self._requests.values():
            if not answer.done():
                answer.set_exception(EngineGone(reason))
        for port in self.ports.values():
            port.end()

    async def _reason(self) -> str:
        try:
            async with asyncio.timeout(2):
                status = await self._process.wait()
                await asyncio.wait(self._tasks[:1], timeout=0.5)  # what it still had to say
        except TimeoutError:
            self._process.kill()
            status = await self._process.wait()
        starved = oom_kills() > self._oom_kills
        return ending(status, self._last_error, self._stderr.decode(errors="replace"), starved)

    async def _collect_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(STDERR_TAIL):
            self._stderr = (self._stderr + chunk)[-STDERR_TAIL:]


def ending(status: int, told: str, stderr: str, starved: bool = False) -> str:
    """Why a process ended, in one line: what it told, or its last words, or its exit status.

    `starved`: the kernel ended some process meanwhile because there was no memory.
    """
    if told:
        return told
    if status == -signal.SIGKILL:
        return "it was killed: the machine is out of memory" if starved else "it was killed"
    if status < 0:
        return f"it crashed with {signal.Signals(-status).name}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"it exited with status {status}"
