"""The engine process: frames in from the daemon, results out, over the frame bus.

Two threads. The reader takes messages from the socket at once, so that in a live stream an older frame is
given back the moment a newer one arrives (latest wins); the main thread owns the engine and does one thing
after the other, which is why a change of parameters always falls between two frames.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.api.bus import (
    BusError,
    Decoder,
    Message,
    MessageType,
    SlotLedger,
    SlotPool,
    encode,
)
from engines.api.errors import ParameterError
from engines.api.parameters import Parameters

PR_SET_PDEATHSIG = 1


class Inbox:
    """Messages waiting for the engine, in order; in a live stream at most one of them is a frame."""

    def __init__(self, live: bool, release: Callable[[Message], None]) -> None:
        self._live, self._release = live, release
        self._messages: deque[Message] = deque()
        self._arrived = threading.Condition()

    def put(self, message: Message) -> None:
        """Called by the reader. An older waiting frame of a live stream is released unseen."""
        stale: list[Message] = []
        with self._arrived:
            if self._live and message.type is MessageType.FRAME:
                stale = [m for m in self._messages if m.type is MessageType.FRAME]
                for old in stale:
                    self._messages.remove(old)
            self._messages.append(message)
            self._arrived.notify()
        for old in stale:
            self._release(old)

    def take(self) -> Message:
        """Called by the engine's thread; waits."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._messages)
            return self._messages.popleft()


class Link:
    """The socket to the daemon; both threads send on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Whole messages, one after the other."""
        with self._sending:
            self.socket.sendall(encode(message))


class Worker:
    """One engine, served to the daemon at the other end of `link`."""

    def __init__(self, link: Link, engine_factory: Callable[[Parameters], Any]) -> None:
        self._link, self._factory = link, engine_factory
        self._decoder = Decoder()
        self._results_free = threading.Condition()
        self._results = SlotLedger(0)
        self._sent = 0

    def run(self) -> None:
        """Serve until the daemon goes away. Raises what the engine raises while it processes a frame."""
        welcome, fds = self._receive_welcome()
        slots, slot_bytes = int(welcome.body["slots"]), int(welcome.body["slot_bytes"])
        self._input, self._output = (SlotPool(fd, slots, slot_bytes) for fd in fds)
        for fd in fds:
            os.close(fd)
        self._results = SlotLedger(slots)
        self._live = bool(welcome.body["live"])
        self._inbox = Inbox(self._live, self._drop)
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._engine = self._factory(Parameters.from_dict(welcome.body["parameters"]))
        except ParameterError as error:
            self._send_error(welcome, error)
            return
        self._link.send(Message(MessageType.REPLY, sequence=welcome.sequence, body={"backend": self._backend()}))
        while True:
            self._handle(self._inbox.take())

    def _handle(self, message: Message) -> None:
        match message.type:
            case MessageType.FRAME:
                self._process(message)
            case MessageType.FLUSH:
                self._publish(self._engine.flush(), 0.0)
                self._link.send(Message(MessageType.REPLY, sequence=message.sequence))
            case MessageType.REPORT:
                self._link.send(Message(MessageType.REPLY, sequence=message.sequence, body=self._engine.report()))
            case MessageType.PARAMETERS | MessageType.STYLE_PICTURE:
                try:
                    body = self._change(message)
                except ParameterError as error:
                    self._send_error(message, error)
                else:
                    self._link.send(Message(MessageType.REPLY, sequence=message.sequence, body=body))
            case _:
                raise BusError(f"a worker does not understand {message.type.name}")

    def _change(self, message: Message) -> dict[str, Any]:
        if message.type is MessageType.PARAMETERS:
            self._engine.update(Parameters.from_dict(message.body))
            return {}
        picture = self._input.read(message)
        self._release(message)
        return {"style_vector": [float(x) for x in self._engine.style_vector(picture)]}

    def _process(self, message: Message) -> None:
        frame = self._input.read(message)  # a copy, for the engine may keep it to compare with the next
        start = time.perf_counter()
        results = self._engine.process(frame, message.pts)
        self._publish(results, (time.perf_counter() - start) * 1000)
        self._release(message)  # only now: a slot that never comes back tells the daemon that the engine hangs

    def _publish(self, results: list[Any], process_ms: float) -> None:
        for result in results:
            with self._results_free:
                # A live stream would rather lose a result than wait for a reader that is late.
                if self._live and self._results.out == self._output.count:
                    continue
                self._results_free.wait_for(lambda: self._results.out < self._output.count)
                slot = self._results.take()
            assert slot is not None
            self._sent += 1
            stats = {"index": result.index, "skipped": bool(result.skipped), "process_ms": round(process_ms, 3)}
            message = Message(MessageType.RESULT, sequence=self._sent, pts=result.pts, body=stats)
            self._link.send(self._output.write(slot, result.image, message))

    def _backend(self) -> str:
        return str(self._engine.report().get("backend", ""))

    def _receive_welcome(self) -> tuple[Message, list[int]]:
        data, fds, _, _ = socket.recv_fds(self._link.socket, 64 * 1024, 2)
        while data:
            for message in self._decoder.feed(data):
                if message.type is not MessageType.WELCOME or len(fds) != 2:
                    raise BusError("expected WELCOME with two descriptors")
                return message, fds
            data = self._link.socket.recv(64 * 1024)
        os._exit(0)

    def _read(self) -> None:
        """The reader thread. When the daemon is gone nothing is left to do, whatever the engine is doing."""
        try:
            while data := self._link.socket.recv(64 * 1024):
                for message in self._decoder.feed(data):
                    if message.type is MessageType.RESULT_RELEASE:
                        with self._results_free:
                            self._results.give_back(message.slot)
                            self._results_free.notify()
                    else:
                        self._inbox.put(message)
        except (BusError, OSError) as error:
            print(f"engine process: {error}", file=sys.stderr, flush=True)
        os._exit(0)

    def _release(self, message: Message) -> None:
        self._link.send(Message(MessageType.RELEASE, slot=message.slot))

    def _drop(self, message: Message) -> None:
        """Give a frame back that a newer one replaced; the daemon may forget it."""
        self._link.send(Message(MessageType.RELEASE, slot=message.slot, pts=message.pts, body={"dropped": True}))

    def _send_error(self, request: Message, error: ParameterError) -> None:
        value = error.value if isinstance(error.value, (str, int, float, bool)) else str(error.value)
        body = {"field": error.field, "value": value, "advice": error.advice}
        self._link.send(Message(MessageType.ERROR, sequence=request.sequence, body=body))


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the daemon dies, even if the engine never comes back to Python."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(0)


def main(arguments: list[str] | None = None) -> int:
    """`python -m engines.worker --bus-fd N`: started by the daemon, never by hand."""
    parser = argparse.ArgumentParser(prog="engines.worker", description=main.__doc__)
    parser.add_argument("--bus-fd", type=int, required=True, help="inherited end of the bus socket")
    parser.add_argument("--engine", default="engines.engine:Engine", metavar="MODULE:CLASS")
    parser.add_argument("--weights", type=Path, help="weights other than the embedded ones")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # the daemon decides when the engine ends
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    link = Link(socket.socket(fileno=options.bus_fd))
    link.send(Message(MessageType.HELLO, body={"role": "engine", "pid": os.getpid()}))
    try:
        module, _, name = options.engine.partition(":")
        engine_class = getattr(importlib.import_module(module), name)  # slow: libraries load before WELCOME arrives
        Worker(link, lambda parameters: engine_class(parameters, weights=options.weights)).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except Exception as error:
        traceback.print_exc()
        link.send(Message(MessageType.ERROR, body={"text": f"{type(error).__name__}: {error}"[:500]}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
