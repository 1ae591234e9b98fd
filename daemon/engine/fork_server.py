"""The daemon's end of a fork server (`engines.worker.fork_server`): the next process, without loading anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence

from driftcam.daemon import background
from driftcam.daemon.engine.link import EngineGone
from driftcam.daemon.engine.process import EngineProcess, spawned

ANSWER = 1.0  # seconds; it does nothing else


class Forked:
    """A child of a fork server, with what `EngineProcess` uses of an `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, end: asyncio.Future[int], stderr: asyncio.StreamReader) -> None:
        self.pid, self._end, self.stderr = pid, end, stderr

    @property
    def returncode(self) -> int | None:
        return self._end.result() if self._end.done() else None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self._end)


class ForkServer:
    """Ready a few seconds after `spawn`; then `fork`, as often as one likes.

    Attributes:
        ready: it has loaded everything.
        alive: it has not ended.
    """

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._process, self._socket = process, sock
        self._births: asyncio.Queue[int] = asyncio.Queue()
        self._ends: dict[int, asyncio.Future[int]] = {}
        self.ready, self.alive = False, True
        self._reading = background.start(self._read(), "the fork server")

    @classmethod
    async def spawn(cls, command: Sequence[str]) -> ForkServer:
        """`command` is an engine process's."""
        return cls(*await spawned([*command, "--fork-server"], asyncio.subprocess.DEVNULL))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self) -> EngineProcess:
        """The next engine process. Raises `EngineGone` where none comes; the fork server is of no use then."""
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        try:
            with theirs:
                socket.send_fds(self._socket, [b"\0"], [theirs.fileno(), write])
            async with asyncio.timeout(ANSWER):
                pid = await self._births.get()
        except (OSError, TimeoutError):  # the second is the first, for Python
            ours.close()
            os.close(read)
            raise EngineGone("the fork server does not answer") from None
        finally:
            os.close(write)
        stderr = asyncio.StreamReader()
        pipe = os.fdopen(read, "rb", buffering=0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stderr), pipe)
        end = self._end_of(pid)
        end.add_done_callback(lambda _: self._ends.pop(pid, None))  # the number may be another child's one day
        return EngineProcess(Forked(pid, end, stderr), ours)

    async def close(self) -> None:
        """End it, and with it its children."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.wait([self._reading])
        self._socket.close()

    async def _read(self) -> None:
        loop, rest = asyncio.get_running_loop(), b""
        try:
            while data := await loop.sock_recv(self._socket, 4096):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._receive(*line.decode(errors="replace").split())
        except OSError:
            pass
        finally:
            self.alive = self.ready = False
            if self._process.returncode is None:
                self._process.kill()
            for end in list(self._ends.values()):
                if not end.done():
                    end.set_result(-signal.SIGKILL)  # they asked the kernel to die with it

    def _receive(self, word: str = "", *values: str) -> None:
        match word:
            case "ready":
                self.ready = True
            case "born":
                self._births.put_nowait(int(values[0]))
            case "ended":
                end = self._end_of(int(values[0]))
                if not end.done():
                    end.set_result(int(values[1]))

    def _end_of(self, pid: int) -> asyncio.Future[int]:
        """Of a child. Its end may be told before its birth."""
        return self._ends.setdefault(pid, asyncio.get_running_loop().create_future())
