"""The engine process: frames of any number of streams in from the daemon, results out, over the frame bus.

After HELLO the daemon opens streams, each with a number and two shared memories of its own (OPEN, and CLOSE at
its end). Three threads: the reader takes messages from the socket at once, so that in a live stream an older frame is
given back the moment a newer one arrives (latest wins); the main thread owns the engines and does one thing
after the other, which is why a change of parameters always falls between two frames; a third one opens streams, which
takes seconds, beside those that run.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from driftcam.engines.api.bus import (
    BusError,
    Decoder,
    Message,
    MessageType,
    encode,
)
from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.memory import peak_memory_mb
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.api.planes import Planes
from driftcam.engines.api.sizes import model_size
from driftcam.engines.worker.fork_server import become_a_child, stay_alone
from driftcam.engines.worker.inbox import Inbox
from driftcam.engines.worker.log import Kept
from driftcam.engines.worker.streams import EngineStream

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


class Host(Protocol):
    """What the worker serves; see `engines.host.EngineHost`."""

    def open(self, parameters: Parameters) -> Any: ...

    def process(self, jobs: Sequence[tuple[Any, Any, int, Planes]]) -> Iterator[tuple[int, list[Any]]]: ...

    def free_mb(self) -> int | None: ...


class OneByOne:
    """A host for any class of engines, which are told of the model alone: nothing is shared."""

    def __init__(self, engine_class: Callable[..., Any], options: EngineOptions) -> None:
        self._engine_class, self._options = engine_class, options

    def open(self, parameters: Parameters) -> Any:
        """Raises `ParameterError`, also for an option that such an engine knows nothing of."""
        model = self._options.model
        for name, default in vars(EngineOptions(model)).items():
            if (value := getattr(self._options, name)) != default:
                raise ParameterError(name, value, f"{self._engine_class.__qualname__} does not take it; leave it out")
        return self._engine_class(parameters, model=model)

    def process(self, jobs: Sequence[tuple[Any, Any, int, Planes]]) -> Iterator[tuple[int, list[Any]]]:
        for number, (engine, frame, pts, planes) in enumerate(jobs):
            yield number, engine.process(frame, pts, planes)

    def free_mb(self) -> int | None:
        return None


class Worker:
    """Streams, served to the daemon at the other end of `link`."""

    def __init__(self, link: Link, host: Host, log: Kept) -> None:
        self._link, self._host, self._log = link, host, log
        self._decoder = Decoder()
        self._fds: list[int] = []
        self._inbox = Inbox(self._drop)
        self._streams: dict[int, EngineStream] = {}
        self._opener = ThreadPoolExecutor(1, "open")

    def run(self) -> None:
        """Serve until the daemon goes away. Raises what an engine raises while it processes a frame."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            frames = []
            for message in self._inbox.take():
                if message.type is MessageType.FRAME:
                    frames.append(message)
                else:
                    self._handle(message)
            if frames:
                self._process(frames)

    def _handle(self, message: Message) -> None:
        if message.stream == 0 and message.type is MessageType.REPORT:
            self._reply(message, memory(self._host) | {"pipelines": self._pipelines(), "log": self._log.take()})
        else:
            self._serve(self._stream(message), message)

    def _pipelines(self) -> dict[str, str]:
        """Which one runs, by number of the stream, of those engines that have several."""
        found = {str(number): getattr(stream.engine, "pipeline", "") for number, stream in list(self._streams.items())}
        return {number: pipeline for number, pipeline in found.items() if pipeline}

    def _stream(self, message: Message) -> EngineStream:
        stream = self._streams.get(message.stream)
        if stream is None:
            raise BusError(f"{message.type.name} for stream {message.stream}, which is not open")
        return stream

    def _serve(self, stream: EngineStream, message: Message) -> None:
        match message.type:
            case MessageType.OPEN:
                self._opener.submit(self._open, stream, message)
            case MessageType.CLOSE:
                self._close(stream)
            case MessageType.FLUSH:
                stream.publish(stream.engine.flush(), 0.0)
                self._reply(message)
            case MessageType.REPORT:
                wanted = message.body.get("insight") and hasattr(stream.engine, "insight")
                insight = stream.engine.insight() if wanted else {}
                self._reply(message, stream.engine.report() | insight)
            case MessageType.PARAMETERS:
                self._answer(message, lambda: stream.engine.update(Parameters.from_dict(message.body)))
            case MessageType.PLANE:
                self._answer(message, lambda: self._set_plane(stream, message))
            case _:
                raise BusError(f"a worker does not understand {message.type.name}")

    def _open(self, stream: EngineStream, message: Message) -> None:
        """In the opener's thread. No frame comes before the answer."""

        def serve() -> dict[str, Any]:
            try:
                parameters = Parameters.from_dict(message.body["parameters"])
                told: dict[str, Any] = {}
                if message.body.get("auto_size") and hasattr(self._host, "live_size"):
                    parameters, told = self._sized(parameters)
                stream.engine = self._host.open(parameters)
            except ParameterError:
                self._close(stream)
                raise
            planes = [plane.to_dict() for plane in stream.engine.planes.values()]
            return {"backend": str(stream.engine.report().get("backend", "")), "planes": planes, **told}

        try:
            self._answer(message, serve)
        except Exception as error:
            tell_the_end(self._link, error)
            os._exit(1)

    def _sized(self, parameters: Parameters) -> tuple[Parameters, dict[str, Any]]:
        """At the largest size that runs live, and what the daemon is told of it."""
        alone = not any(stream.engine is not None for stream in list(self._streams.values()))
        found = self._host.live_size(parameters, alone=alone)  # type: ignore[attr-defined]
        width, height = model_size(parameters.width, parameters.height, found.side**2)
        return parameters.replace(width=width, height=height), {"area": found.side**2, "size": str(found)}

    def _close(self, stream: EngineStream) -> None:
        del self._streams[stream.number]
        stream.close()

    def _set_plane(self, stream: EngineStream, message: Message) -> dict[str, Any]:
        """Take a session plane or take it away; what follows from it for the parameters."""
        picture = None
        if message.width:
            picture = stream.copy_of(message)
            self._release(message)
        return {"parameters": stream.engine.set_plane(str(message.body.get("name")), picture)}

    def _process(self, messages: list[Message]) -> None:
        """One frame of every stream that has one."""
        streams = [self._stream(message) for message in messages]
        jobs = [stream.job(message) for stream, message in zip(streams, messages, strict=True)]
        start = time.perf_counter()
        for number, results in self._host.process(jobs):
            streams[number].publish(results, (time.perf_counter() - start) * 1000)
            self._release(messages[number])  # only now: a slot that never comes back says that the engine hangs
            start = time.perf_counter()

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
        except Exception as error:
            print(f"engine process: {error!r}", file=sys.stderr, flush=True)
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
            self._streams[message.stream] = EngineStream(message, fds, self._link.send)
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
            answer = {"sequence": request.sequence, "stream": request.stream}
            self._link.send(Message(MessageType.ERROR, **answer, body=error.to_wire()))
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


def tell_the_end(link: Link, error: Exception) -> None:
    """The daemon is told in one line, the log at length."""
    traceback.print_exception(error)
    link.send(Message(MessageType.ERROR, body={"text": last_words(error)}))


def memory(host: Host) -> dict[str, Any]:
    """MiB: the most of this process so far, and what is left where the networks run."""
    return {"memory_peak_mb": peak_memory_mb(), "device_free_mb": host.free_mb()}


def open_host(name: str, options: EngineOptions) -> Host:
    """`MODULE:CLASS` of a host or of an engine."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    return found(options) if hasattr(found, "open") else OneByOne(found, options)


def main(arguments: list[str] | None = None) -> int:
    """`python -m driftcam.engines.worker --bus-fd N`: started by the daemon, never by hand."""
    parser = argparse.ArgumentParser(prog="driftcam.engines.worker", description=main.__doc__)
    parser.add_argument("--bus-fd", type=int, required=True, help="inherited end of the bus socket")
    parser.add_argument("--engine", default="driftcam.engines.host:EngineHost", metavar="MODULE:CLASS")
    parser.add_argument("--options", default=EngineOptions().to_json(), metavar="JSON", help="see `EngineOptions`")
    parser.add_argument("--fork-server", action="store_true", help="the socket is that of `engines.worker.fork_server`")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # the daemon decides when the engine ends
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    link = Link(socket.socket(fileno=options.bus_fd))
    if options.fork_server:
        stay_alone()
    log = Kept().install()
    gc.disable()  # the libraries make half a million objects that stay; looking through them takes a fifth of the time
    try:
        host = open_host(options.engine, EngineOptions.from_json(options.options))  # slow: libraries load
        gc.freeze()
        gc.enable()
        if options.fork_server:
            link = Link(become_a_child(link.socket))
            die_with_parent()
        link.send(Message(MessageType.HELLO, body={"role": "engine", "pid": os.getpid()}))
        Worker(link, host, log).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except Exception as error:
        tell_the_end(link, error)
        os._exit(1)  # whatever a thread is doing
    return 0


if __name__ == "__main__":
    sys.exit(main())
