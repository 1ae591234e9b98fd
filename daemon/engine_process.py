"""One engine process, from spawn to its end, seen from the daemon's event loop. It is never reused."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.api import ParameterError, Parameters
from engines.api.bus import (
    SLOTS,
    BusError,
    Decoder,
    Message,
    MessageType,
    SlotLedger,
    SlotPool,
    create_memory,
    encode,
)
from engines.api.parameters import SIZE_RANGE

SLOT_BYTES = SIZE_RANGE[1] ** 2 * 3
STDERR_TAIL = 4096


class EngineGone(Exception):
    """The engine process ended; the text says why."""


def worker_command(engine: str | None = None, weights: Path | None = None) -> list[str]:
    """How the engine process is started: with the embedded model unless told otherwise."""
    command = [sys.executable, "-P", "-m", "engines.worker"]
    command += ["--engine", engine] if engine else []
    command += ["--weights", str(weights)] if weights else []
    return command


class EngineProcess:
    """A worker and the daemon's end of its bus. Create with `spawn`, then `welcome`, finally `close`.

    Attributes:
        room: set when an input slot may have become free, or the process has ended.
        gone: done when the process has ended; its result is the reason.
        last_taken: monotonic seconds at which a result was last taken.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        sock: socket.socket,
        on_result: Callable[[EngineProcess, Message], None],
        on_drop: Callable[[int], None],
    ) -> None:
        self._process, self._sock, self._on_result, self._on_drop = process, sock, on_result, on_drop
        self._writer: asyncio.StreamWriter | None = None
        self._decoder = Decoder()
        self._ledger = SlotLedger(SLOTS)
        self._slot_sent: dict[int, float] = {}
        self._results_held: set[int] = set()
        self._requests: dict[int, tuple[float, asyncio.Future[Message]]] = {}
        self._request_numbers = itertools.count(1)
        self._input: SlotPool | None = None
        self._output: SlotPool | None = None
        self._stderr = b""
        self._last_error = ""
        self.room = asyncio.Event()
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.last_taken = 0.0
        self._tasks = [asyncio.create_task(self._collect_stderr())]

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        on_result: Callable[[EngineProcess, Message], None],
        on_drop: Callable[[int], None],
    ) -> EngineProcess:
        """Start the process; it loads its libraries while the caller prepares the rest.

        `on_result` is called with each RESULT, which must be given to `take`; `on_drop` with the pts of each
        frame that a newer one replaced.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                *("--bus-fd", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the daemon, which ends the engine in its own time
            )
        ours.setblocking(False)
        return cls(process, ours, on_result, on_drop)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self.gone.done()

    @property
    def owing_since(self) -> float | None:
        """Monotonic seconds of the oldest frame or request that the engine has not dealt with."""
        times = [*self._slot_sent.values(), *(asked for asked, _ in self._requests.values())]
        return min(times, default=None)

    async def welcome(self, parameters: Parameters, live: bool, timeout: float) -> str:
        """Hand over the memory and the parameters; returns the engine's own words on its backend.

        Raises `ParameterError` where the engine refuses a value, `EngineGone` where it does not come up.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._expect_hello()
                self._hand_over(parameters, live)
                reader, self._writer = await asyncio.open_unix_connection(sock=self._sock)
                self._tasks.append(asyncio.create_task(self._read(reader)))
                reply = await self._answer(0)
        except TimeoutError:
            raise EngineGone(f"it was not ready after {timeout:g} s") from None
        return str(reply.body.get("backend", ""))

    def offer(self, image: np.ndarray, pts: int) -> bool:
        """Send a frame. False when no slot is free: the caller waits for `room` or lets the frame go."""
        return self._send_picture(image, Message(MessageType.FRAME, pts=pts))

    def take(self, message: Message) -> np.ndarray:
        """The picture of a RESULT; its slot goes back to the engine."""
        assert self._output is not None
        self._results_held.discard(message.slot)
        self.last_taken = time.monotonic()
        image = self._output.read(message)
        self._send(Message(MessageType.RESULT_RELEASE, slot=message.slot))
        return image

    async def request(self, kind: MessageType, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask and wait for the answer. Raises `ParameterError` or `EngineGone`."""
        number = next(self._request_numbers)
        self._send(Message(kind, sequence=number, body=body or {}))
        return (await self._answer(number)).body

    async def style_vector(self, image: np.ndarray) -> tuple[float, ...]:
        """What the engine makes of a picture given as a style. Raises `ParameterError` or `EngineGone`."""
        number = next(self._request_numbers)
        while not self._send_picture(image, Message(MessageType.STYLE_PICTURE, sequence=number)):
            self.room.clear()
            await self.room.wait()
        return tuple((await self._answer(number)).body["style_vector"])

    def kill(self, reason: str) -> None:
        """End it now; `gone` will say `reason`."""
        self._last_error = reason
        if self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """Let it end (it does when the socket closes), or end it; free everything."""
        self._last_error = self._last_error or "it was closed"
        if self._writer is not None:
            self._writer.close()
        else:
            self.kill("it was closed")  # it may be busy loading libraries and would not notice
            self._sock.close()
        try:
            async with asyncio.timeout(2):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end()
        for pool in (self._input, self._output):
            if pool is not None:
                pool.close()
        self._input = self._output = None

    async def _expect_hello(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(self._sock, 4096):
                for message in self._decoder.feed(data):
                    if message.type is not MessageType.HELLO:
                        raise EngineGone(f"it said {message.type.name} instead of HELLO")
                    return
        await self._end()
        raise EngineGone(self.gone.result())

    def _hand_over(self, parameters: Parameters, live: bool) -> None:
        fds = [create_memory(SLOTS, SLOT_BYTES) for _ in range(2)]
        try:
            self._input, self._output = (SlotPool(fd, SLOTS, SLOT_BYTES) for fd in fds)
            body = {"slots": SLOTS, "slot_bytes": SLOT_BYTES, "live": live, "parameters": parameters.to_dict()}
            try:
                # A few hundred bytes into an empty socket buffer: it does not block.
                socket.send_fds(self._sock, [encode(Message(MessageType.WELCOME, body=body))], fds)
            except OSError as error:
                raise EngineGone(str(error)) from None
        finally:
            for fd in fds:
                os.close(fd)

    def _send_picture(self, image: np.ndarray, message: Message) -> bool:
        if not self.alive or self._input is None:
            return False
        slot = self._ledger.take()
        if slot is None:
            return False
        self._slot_sent[slot] = time.monotonic()
        self._send(self._input.write(slot, image, message))
        return True

    def _send(self, message: Message) -> None:
        if self._writer is not None and self.alive:
            self._writer.write(encode(message))  # small, and their number is bounded by slots and requests

    async def _answer(self, number: int) -> Message:
        if not self.alive:
            raise EngineGone(self.gone.result())
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._requests[number] = time.monotonic(), answer
        try:
            return await answer
        finally:
            self._requests.pop(number, None)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            data = b""  # the decoder may still hold what came together with HELLO
            while True:
                for message in self._decoder.feed(data):
                    self._receive(message)
                if not (data := await reader.read(64 * 1024)):
                    break
        except BusError as error:
            self.kill(f"it broke the bus protocol: {error}")
        except OSError:
            pass  # the process went away; why is told below
        await self._end()

    def _receive(self, message: Message) -> None:
        match message.type:
            case MessageType.RELEASE:
                self._ledger.give_back(message.slot)
                self._slot_sent.pop(message.slot)
                if message.body.get("dropped"):
                    self._on_drop(message.pts)
                self.room.set()
            case MessageType.RESULT:
                if message.slot in self._results_held:
                    raise BusError(f"result slot {message.slot} was not the engine's to fill")
                self._results_held.add(message.slot)
                self._on_result(self, message)
            case MessageType.REPLY:
                self._resolve(message)
            case MessageType.ERROR:
                if not self._resolve(message):
                    self._last_error = str(message.body.get("text", ""))
            case _:
                raise BusError(f"an engine does not send {message.type.name}")

    def _resolve(self, message: Message) -> bool:
        _, answer = self._requests.get(message.sequence, (0.0, None))
        if answer is None or answer.done() or "text" in message.body:
            return False
        if message.type is MessageType.ERROR:
            field, value, advice = (message.body.get(key, "") for key in ("field", "value", "advice"))
            answer.set_exception(ParameterError(str(field), value, str(advice)))
        else:
            answer.set_result(message)
        return True

    async def _end(self) -> None:
        if not self.alive:
            return
        reason = await self._reason()
        if self.alive:
            self.gone.set_result(reason)
        for _, answer in self._requests.values():
            if not answer.done():
                answer.set_exception(EngineGone(reason))
        self.room.set()

    async def _reason(self) -> str:
        try:
            async with asyncio.timeout(2):
                status = await self._process.wait()
                await asyncio.wait(self._tasks[:1], timeout=0.5)  # what it still had to say
        except TimeoutError:
            self._process.kill()
            status = await self._process.wait()
        return ending(status, self._last_error, self._stderr.decode(errors="replace"))

    async def _collect_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(STDERR_TAIL):
            self._stderr = (self._stderr + chunk)[-STDERR_TAIL:]


def ending(status: int, told: str, stderr: str) -> str:
    """Why a process ended, in one line: what it told, or its last words, or its exit status."""
    if told:
        return told
    if status == -signal.SIGKILL:
        return "it was killed (the machine may be out of memory)"
    if status < 0:
        return f"it crashed with {signal.Signals(-status).name}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"it exited with status {status}"
