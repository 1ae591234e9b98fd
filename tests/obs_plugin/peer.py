"""A daemon's end of the bus that answers at once, with colours instead of a model, and misbehaves on request."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from driftcam.engines.api.bus import (
    MINOR,
    BusError,
    Decoder,
    Message,
    MessageType,
    SlotLedger,
    SlotPool,
    create_memory,
    encode,
)
from driftcam.engines.api.planes import PixelFormat

SLOTS = 3
SLOT_BYTES = 1024 * 1024 * 4
STYLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda image: image,
    "invert": lambda image: np.dstack([255 - image[..., :3], image[..., 3:]]),
    "swap": lambda image: image[..., [2, 1, 0, 3]],  # red and blue
    "rotate": lambda image: image[..., [1, 2, 0, 3]],  # red becomes green
}
PRESETS: dict[str, dict[str, Any]] = {"negative": {"styles": [["invert", 1.0]], "strength": 0.5}}


class Client:
    """One connection, served by a thread of its own."""

    def __init__(self, peer: Peer, sock: socket.socket) -> None:
        self.peer, self.sock = peer, sock
        self.hello: dict[str, Any] = {}
        self.parameters: dict[str, Any] = {"styles": [["swap", 1.0]], "prompts": []}
        self.parameters |= {"strength": 0.8, "freedom": 0.1, "steps": 1}
        self.parameters |= {field["name"]: field["default"] for field in peer.fields or [] if "default" in field}
        self.requests: list[Message] = []
        self.frames: list[Message] = []
        self.pictures: list[np.ndarray] = []  # of styles
        self.version = 1
        self.ended = threading.Event()
        self._sending = threading.Lock()
        self._results = SlotLedger(SLOTS)
        self.input: SlotPool | None = None
        self.output: SlotPool | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def filter(self) -> bool:
        """Whether it gives frames."""
        return self.hello.get("role") == "filter"

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Whole messages, or whatever a test wants the client to get."""
        with self._sending, contextlib.suppress(OSError):
            if fds:
                socket.send_fds(self.sock, [data], fds)
            else:
                self.sock.sendall(data)

    def say(self, kind: MessageType, **fields: Any) -> None:
        """One message."""
        self.send(encode(Message(kind, **fields)))

    def state(self) -> dict[str, Any]:
        """What EVENT and REPLY say."""
        width, height = self.peer.size
        about = {"fps": 30.0, "latency_ms": 10.0, "engine": "ready", "notice": self.peer.notice, "page": self.peer.page}
        return {
            "session": self.hello.get("session", "live"),
            "version": self.version,
            "parameters": self.parameters,
            "width": self.parameters.get("width", width),
            "height": self.parameters.get("height", height),
            "model": self.peer.model,
        } | about

    def change(self, **parameters: Any) -> None:
        """As if somebody had moved a control elsewhere."""
        self.parameters |= ({"prompts": []} if "styles" in parameters else {}) | parameters
        self.version += 1
        self.say(MessageType.EVENT, body=self.state())

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def show(self, image: np.ndarray, pts: int = 0, **body: Any) -> bool:
        """Send a result (BGRA) of this peer's own making; False when the client has all slots."""
        assert self.output is not None
        slot = self._results.take()
        if slot is None:
            return False
        height, width = image.shape[:2]
        message = Message(
            *(MessageType.RESULT, slot, width, height, width * 4, PixelFormat.BGRA8, 0, pts, width * height * 4),
            body=body,
        )
        np.copyto(self.output.view(message), image)
        self.send(encode(message))
        return True

    def _serve(self) -> None:
        decoder = Decoder()
        try:
            while data := self.sock.recv(65536):
                for message in decoder.feed(data):
                    self._handle(message)
        except BusError as error:
            self.peer.troubles.append(str(error))
        except OSError:
            pass  # it went away with something unread
        self.ended.set()
        self.sock.close()

    def _handle(self, message: Message) -> None:
        match message.type:
            case MessageType.HELLO:
                self.hello = message.body
                if not self._refused(message.body.get("parameters", {}), 0):
                    self._accept(message.body.get("parameters", {}))
                    self.peer.welcome(self)
            case MessageType.FRAME:
                self.frames.append(message)
                self.peer.on_frame(self, message)
            case MessageType.RESULT_RELEASE:
                self._results.give_back(message.slot)
            case MessageType.PARAMETERS | MessageType.PRESET | MessageType.REPORT | self.peer.picture:
                self.requests.append(message)
                self._answer(message)
            case _:
                raise BusError(f"a client must not send {message.type.name}")

    def _refused(self, changes: dict[str, Any], sequence: int) -> bool:
        """Whether there is an unknown style or, where there is a table, parameter among them; it is told."""
        known = {*self.parameters, "prompt", "style_vector", "width", "height"}
        for name in changes:
            if self.peer.fields is not None and name not in known:
                body = {"field": name, "value": 0, "advice": "", "text": f"{name}: there is no such parameter"}
                self.say(MessageType.ERROR, sequence=sequence, body=body)
                return True
        for name, _ in changes.get("styles", []):
            if name not in STYLES:
                body = {"field": "styles", "value": name, "advice": "there is no such style", "text": ""}
                self.say(MessageType.ERROR, sequence=sequence, body=body)
                return True
        return False

    def _accept(self, changes: dict[str, Any]) -> None:
        self.parameters |= {name: value for name, value in changes.items() if name not in ("prompt", "style_vector")}
        if "styles" in changes and "prompts" not in changes:
            self.parameters["prompts"] = []
        if changes.get("prompt"):
            self.parameters |= {"styles": [["rotate", 1.0]], "prompts": [[changes["prompt"], 1.0]]}
        if "style_vector" in changes:
            self.pictures.clear()
        self.parameters["style_picture"] = bool(self.pictures)

    def _answer(self, message: Message) -> None:
        if message.type is MessageType.PARAMETERS:
            if self._refused(message.body, message.sequence):
                return
            self._accept(message.body)
        elif message.type is MessageType.PRESET:
            self._accept(PRESETS.get(message.body["name"], {}))
        elif message.type is self.peer.picture:
            if message.type is MessageType.PLANE and message.body != {"name": "style_picture"}:
                raise BusError(f"there is no such plane: {message.body}")
            assert self.input is not None
            self.pictures.append(self.input.read(message))
            self.say(MessageType.RELEASE, slot=message.slot)
        self.version += message.type is not MessageType.REPORT
        lists: dict[str, Any] = {}
        if message.type is MessageType.REPORT:
            lists = {"styles": list(STYLES), "presets": list(PRESETS)}
            lists |= {} if self.peer.fields is None else {"fields": self.peer.fields}
        self.say(MessageType.REPLY, sequence=message.sequence, body=self.state() | lists)


def give_memory(client: Client, fds: tuple[int, ...], **changes: Any) -> None:
    """Say WELCOME with these memories and close them here."""
    width, height = client.peer.size
    body = {
        "slots": SLOTS,
        "slot_bytes": SLOT_BYTES,
        "session": client.hello.get("session", "live"),
        "width": client.parameters.get("width", width),
        "height": client.parameters.get("height", height),
        "format": "BGRA8",
        "server": "peer 1",
    } | changes
    data = bytearray(encode(Message(MessageType.WELCOME, body=body)))
    data[6:8] = client.peer.minor.to_bytes(2, "little")
    client.send(bytes(data), fds)
    for fd in fds:
        os.close(fd)


def welcome(client: Client) -> None:
    """The good way."""
    fds = tuple(create_memory(SLOTS, SLOT_BYTES) for _ in range(2 if client.filter else 1))
    pools = [SlotPool(fd, SLOTS, SLOT_BYTES) for fd in fds]
    client.input, client.output = pools[0] if client.filter else None, pools[-1]
    give_memory(client, fds)
    client.say(MessageType.EVENT, body=client.state())


def answer(client: Client, message: Message) -> None:
    """The good way: the frame in the colours of the style."""
    assert client.input is not None
    image = client.input.read(message)
    client.say(MessageType.RELEASE, slot=message.slot)
    client.show(STYLES[client.parameters["styles"][0][0]](image), message.pts)


class Peer:
    """Listens at `path` until `close`. `welcome` and `on_frame` may be replaced by worse ways."""

    def __init__(self, path: Path, size: tuple[int, int] = (64, 48)) -> None:
        self.path, self.size = path, size
        self.welcome: Callable[[Client], None] = welcome
        self.on_frame: Callable[[Client, Message], None] = answer
        self.clients: list[Client] = []
        self.troubles: list[str] = []
        self.notice, self.page = "", "http://127.0.0.1:1/"
        self.minor = MINOR  # of the version that WELCOME tells
        self.model: str | None = None  # that runs, as the state tells
        self.fields: list[dict[str, Any]] | None = None  # the table; a daemon that is older than it has none
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.clients.append(Client(self, sock))

    @property
    def picture(self) -> MessageType:
        """How a client gives the picture of a style."""
        return MessageType.PLANE if self.minor else MessageType.STYLE_PICTURE

    @property
    def living(self) -> list[Client]:
        """Clients whose connection stands and that have said who they are."""
        return [client for client in self.clients if client.hello and not client.ended.is_set()]

    def close(self) -> None:
        """As a daemon that ends: the socket and all connections are gone."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self.clients:
            client.close()
