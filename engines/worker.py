"""The engine process: frames of any number of streams in from the daemon, results out, over the frame bus.

After HELLO the daemon opens streams, each with a number and two shared memories of its own (OPEN, and CLOSE at
its end). Two threads: the reader takes messages from the socket at once, so that in a live stream an older frame is
given back the moment a newer one arrives (latest wins); the main thread owns the engines and does one thing
after the other, which is why a change of parameters always falls between two frames.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.api.bus import (
    BusError,
    Decoder,
    Message,
    MessageType,
    encode,
)
from engines.api.errors import ParameterError
from engines.api.model_files import ModelFiles, parse_loras
from engines.api.parameters import Parameters
from engines.hosted import HostedStream
from engines.inbox import Inbox

PR_SET_PDEATHSIG = 1


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
    """Streams, served to the daemon at the other end of `link`."""

    def __init__(self, link: Link, engine_factory: Callable[[Parameters], Any]) -> None:
        self._link, self._factory = link, engine_factory
        self._decoder = Decoder()
        self._fds: list[int] = []
        self._inbox = Inbox(self._drop)
        self._streams: dict[int, HostedStream] = {}

    def run(self) -> None:
        """Serve until the daemon goes away. Raises what an engine raises while it processes a frame."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            for message in self._inbox.take():
                self._handle(message)

    def _handle(self, message: Message) -> None:
        if message.stream == 0 and message.type is MessageType.REPORT:
            self._reply(message, {"memory_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})
        elif (stream := self._streams.get(message.stream)) is None:
            raise BusError(f"{message.type.name} for stream {message.stream}, which is not open")
        else:
            self._serve(stream, message)

    def _serve(self, stream: HostedStream, message: Message) -> None:
        match message.type:
            case MessageType.FRAME:
                self._process(stream, message)
            case MessageType.OPEN:
                self._answer(message, lambda: self._open(stream, message))
            case MessageType.CLOSE:
                self._close(stream)
            case MessageType.FLUSH:
                stream.publish(stream.engine.flush(), 0.0)
                self._reply(message)
            case MessageType.REPORT:
                self._reply(message, stream.engine.report())
            case MessageType.PARAMETERS:
                self._answer(message, lambda: stream.engine.update(Parameters.from_dict(message.body)))
            case MessageType.STYLE_PICTURE:
                self._answer(message, lambda: self._style_vector(stream, message))
            case _:
                raise BusError(f"a worker does not understand {message.type.name}")

    def _open(self, stream: HostedStream, message: Message) -> dict[str, Any]:
        try:
            stream.engine = self._factory(Parameters.from_dict(message.body["parameters"]))
        except ParameterError:
            self._close(stream)
            raise
        return {"backend": str(stream.engine.report().get("backend", ""))}

    def _close(self, stream: HostedStream) -> None:
        del self._streams[stream.number]
        stream.close()

    def _style_vector(self, stream: HostedStream, message: Message) -> dict[str, Any]:
        picture = stream.picture(message)
        self._release(message)
        return {"style_vector": [float(x) for x in stream.engine.style_vector(picture)]}

    def _process(self, stream: HostedStream, message: Message) -> None:
        frame = stream.picture(message)
        start = time.perf_counter()
        results = stream.engine.process(frame, message.pts)
        stream.publish(results, (time.perf_counter() - start) * 1000)
        self._release(message)  # only now: a slot that never comes back tells the daemon that the engine hangs

    def _read(self) -> None:
        """The reader thread. When the daemon is gone nothing is left to do, whatever the engine is doing."""
        try:
            while True:
                data, fds, _, _ = socket.recv_fds(self._link.socket, 64 * 1024, 8)
                self._fds += fds
                if not data:
                    break
                for message in self._decoder.feed(data):
                    self._receive(message)
        except (BusError, OSError, KeyError, ValueError) as error:
            print(f"engine process: {error}", file=sys.stderr, flush=True)
        os._exit(0)

    def _receive(self, message: Message) -> None:
        stream = self._streams.get(message.stream)
        if message.type is MessageType.RESULT_RELEASE:
            if stream is not None:
                stream.give_back(message.slot)
            return
        if message.type is MessageType.OPEN:
            fds, self._fds = self._fds[:2], self._fds[2:]
            if len(fds) != 2 or stream is not None:
                raise BusError("expected OPEN of a new stream with two descriptors")
            self._streams[message.stream] = HostedStream(message, fds, self._link.send)
        self._inbox.put(message, live=stream is not None and stream.live)

    def _release(self, message: Message) -> None:
        self._link.send(Message(MessageType.RELEASE, slot=message.slot, stream=message.stream))

    def _drop(self, message: Message) -> None:
        """Give a frame back that a newer one replaced; the daemon may forget it."""
        place = {"slot": message.slot, "pts": message.pts, "stream": message.stream}
        self._link.send(Message(MessageType.RELEASE, **place, body={"dropped": True}))

    def _reply(self, request: Message, body: dict[str, Any] | None = None) -> None:
        answer = {"sequence": request.sequence, "stream": request.stream}
        self._link.send(Message(MessageType.REPLY, **answer, body=body or {}))

    def _answer(self, request: Message, serve: Callable[[], dict[str, Any] | None]) -> None:
        """Do what was asked; a value that cannot be used is told, and everything stays as it was."""
        try:
            body = serve()
        except ParameterError as error:
            value = error.value if isinstance(error.value, (str, int, float, bool)) else str(error.value)
            refusal = {"field": error.field, "value": value, "advice": error.advice}
            answer = {"sequence": request.sequence, "stream": request.stream}
            self._link.send(Message(MessageType.ERROR, **answer, body=refusal))
        else:
            self._reply(request, body)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the daemon dies, even if the engine never comes back to Python."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(0)


def last_words(error: Exception) -> str:
    """What the daemon is told of `error`, in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    lacking = ("out of memory", "bad_alloc", "can't allocate memory", "cannot allocate memory")
    if isinstance(error, MemoryError) or any(words in text.lower() for words in lacking):
        return f"out of memory; choose a smaller size or close another session ({text})"
    return text


def main(arguments: list[str] | None = None) -> int:
    """`python -m engines.worker --bus-fd N`: started by the daemon, never by hand."""
    parser = argparse.ArgumentParser(prog="engines.worker", description=main.__doc__)
    parser.add_argument("--bus-fd", type=int, required=True, help="inherited end of the bus socket")
    parser.add_argument("--engine", default="engines.engine:Engine", metavar="MODULE:CLASS")
    parser.add_argument("--weights", type=Path, help="see `ModelFiles`")
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--lora", action="append", default=[], metavar="PATH:WEIGHT")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # the daemon decides when the engine ends
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    link = Link(socket.socket(fileno=options.bus_fd))
    try:
        module, _, name = options.engine.partition(":")
        engine_class = getattr(importlib.import_module(module), name)  # slow: libraries load
        link.send(Message(MessageType.HELLO, body={"role": "engine", "pid": os.getpid()}))
        model = ModelFiles(options.weights, options.vae, parse_loras(options.lora), options.solver)
        Worker(link, lambda parameters: engine_class(parameters, model=model)).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except Exception as error:
        traceback.print_exc()
        link.send(Message(MessageType.ERROR, body={"text": last_words(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
