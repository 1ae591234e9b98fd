"""The other end of the frame bus for programs in Python: sources, sinks and filters in a few lines.

with BusClient("filter", session="demo") as bus:
    bus.send(picture, planes={"mask": mask})
    picture, pts = bus.receive()
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from driftcam.engines.api.bus import (
    BusError,
    Decoder,
    Message,
    MessageType,
    SlotLedger,
    SlotPool,
    encode,
    peer_user,
)
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.planes import ALPHA, NO_PLANES, STYLE_PICTURE, PixelFormat, Planes, format_of


class BusClient:
    """One connection, for one thread. Use it in a `with`, or `close` it.

    Args:
        role: `source` gives frames, `sink` takes results, `filter` does both.
        session: which one to join; a source or a filter opens it if there is none.
        name: shown to people.
        pixel_format: of the pictures in both directions.
        size: (width, height) of the results, None for the model's.
        alpha: results have the alpha of their frames, with `RGB24` as a plane of its own.
        parameters: what a session opened by this client starts with.
        path: of the socket, None for that of this user's daemon.
        timeout: seconds to wait for any answer.

    Attributes:
        session: its name.
        size: (width, height) of the model's pictures: frames of this size need not be scaled.
        state: what the daemon last said (EVENT in docs/bus.md).
        planes: beside the picture of the last result that was received.

    Raises:
        ParameterError: the daemon refused; the field says why.
        BusError: what answered is no Driftcam daemon.
        OSError: there is no daemon, or it went away; also from every method.
    """

    def __init__(
        self,
        role: str,
        *,
        session: str = "live",
        name: str = "Python",
        pixel_format: PixelFormat = PixelFormat.RGB24,
        size: tuple[int, int] | None = None,
        alpha: bool = False,
        parameters: Mapping[str, Any] | None = None,
        path: Path | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._format, self._timeout = pixel_format, timeout
        self._decoder = Decoder()
        self._waiting: list[Message] = []
        self._result: Message | None = None
        self._answers: dict[int, Message] = {}
        self._request = 0
        self._pools: list[SlotPool] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(os.fspath(path or default_path()))
            _check_user(self._socket)
            width, height = size or (0, 0)
            body: dict[str, Any] = {"role": role, "session": session, "name": name, "format": pixel_format.name}
            body |= {"width": width, "height": height, "parameters": dict(parameters or {})}
            body |= {"planes": [ALPHA]} if alpha else {}
            self._send(Message(MessageType.HELLO, body=body))
            welcome = self._expect_welcome(1 + (role == "filter"))
        except BaseException:
            self.close()
            raise
        self.session = str(welcome.body["session"])
        self.size = int(welcome.body["width"]), int(welcome.body["height"])
        self.state: dict[str, Any] = {}
        self.planes: Planes = NO_PLANES
        self._ledger = SlotLedger(int(welcome.body["slots"]))

    def __enter__(self) -> BusClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave; a session that this client opened ends with its last client."""
        self._socket.close()
        for pool in self._pools:
            pool.close()
        self._pools = []

    def send(self, image: np.ndarray, pts: int | None = None, planes: Planes = NO_PLANES) -> bool:
        """Give a frame (H, W, 3 or 4) u8, captured at CLOCK_MONOTONIC ns `pts` (now), and planes beside it.

        False when the daemon is busy with those before: let the frame go. Raises `BusError` for an array that is no
        picture of this client's format or no plane, or where they do not fit a slot together.
        """
        self._read(0.0)
        if format_of(image) is not self._format:
            raise BusError(f"{image.dtype} of shape {image.shape} is no picture of {self._format.name}")
        message = Message(MessageType.FRAME, pts=time.monotonic_ns() if pts is None else pts)
        return self._send_picture(image, message, planes)

    def receive(self, timeout: float | None = None) -> tuple[np.ndarray, int]:
        """The newest result that was not received yet, and the pts of its frame; waits for one.

        Raises `TimeoutError` when none comes within `timeout` seconds (None: as given to the client).
        """
        end = time.monotonic() + (self._timeout if timeout is None else timeout)
        self._read(0.0)
        while self._result is None:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no result came")
            self._read(left)
        message, self._result = self._result, None
        image = self._pools[-1].read(message)
        self.planes = {name: view.copy() for name, view in self._pools[-1].planes(message).items()}
        self._send(Message(MessageType.RESULT_RELEASE, slot=message.slot))
        return image, message.pts

    def change(self, **parameters: Any) -> dict[str, Any]:
        """Change parameters of the session, or `prompt`; the new state. Raises `ParameterError`."""
        return self._ask(Message(MessageType.PARAMETERS, body=parameters))

    def use_preset(self, name: str, travel: float | None = None) -> dict[str, Any]:
        """Apply a preset, in `travel` seconds instead of its own; the new state. Raises `ParameterError`."""
        body = {"name": name} if travel is None else {"name": name, "travel": travel}
        return self._ask(Message(MessageType.PRESET, body=body))

    def set_plane(self, name: str, image: np.ndarray | None) -> dict[str, Any]:
        """Give the session a plane that is used until it is taken away (None); the new state.

        Raises `ParameterError`, or `BusError` with no free slot.
        """
        self._request += 1
        request = Message(MessageType.PLANE, sequence=self._request, body={"name": name})
        if image is None:
            self._send(request)
        elif not self._send_picture(image, request):
            raise BusError("no slot is free; try again")
        return self._answer(self._request)

    def use_style_picture(self, image: np.ndarray) -> dict[str, Any]:
        """The picture becomes the style; see `set_plane`."""
        return self.set_plane(STYLE_PICTURE, image)

    def report(self) -> dict[str, Any]:
        """The state, with the names of styles and presets."""
        return self._ask(Message(MessageType.REPORT))

    def fileno(self) -> int:
        """For `select`: readable when something came."""
        return self._socket.fileno()

    # -------------------------------------------------------------------------------------------

    def _expect_welcome(self, pools: int) -> Message:
        self._socket.settimeout(self._timeout)
        fds: list[int] = []
        try:
            while not self._waiting:
                data, more, _, _ = socket.recv_fds(self._socket, 64 * 1024, 4)
                fds += more
                if not data:
                    raise ConnectionError("the daemon hung up")
                self._waiting += self._decoder.feed(data)
            message = self._waiting.pop(0)
            if message.type is MessageType.ERROR:
                raise ParameterError.from_wire(message.body)
            if message.type is not MessageType.WELCOME or len(fds) != pools:
                raise BusError(f"expected WELCOME with {pools} descriptors, not {message.type.name}")
            slots, size = int(message.body["slots"]), int(message.body["slot_bytes"])
            self._pools = [SlotPool(fd, slots, size) for fd in fds]
            return message
        finally:
            for fd in fds:
                os.close(fd)

    def _send(self, message: Message) -> None:
        self._socket.settimeout(self._timeout)
        self._socket.sendall(encode(message))

    def _send_picture(self, image: np.ndarray, message: Message, planes: Planes = NO_PLANES) -> bool:
        slot = self._ledger.take()
        if slot is None:
            return False
        try:
            described = self._pools[0].write(slot, image, message, planes)
        except BusError:
            self._ledger.give_back(slot)
            raise
        self._send(described)
        return True

    def _ask(self, message: Message) -> dict[str, Any]:
        self._request += 1
        self._send(Message(message.type, sequence=self._request, body=message.body))
        return self._answer(self._request)

    def _answer(self, number: int) -> dict[str, Any]:
        end = time.monotonic() + self._timeout
        while number not in self._answers:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer came")
            self._read(left)
        message = self._answers.pop(number)
        if message.type is MessageType.ERROR:
            raise ParameterError.from_wire(message.body)
        return message.body

    def _read(self, timeout: float) -> None:
        """Deal with what has come, after waiting for at most `timeout` seconds."""
        messages, self._waiting = self._waiting, []
        try:
            self._socket.settimeout(timeout)
            data = self._socket.recv(64 * 1024)
        except (BlockingIOError, TimeoutError):
            pass
        else:
            if not data:
                raise ConnectionError("the daemon hung up")
            messages += self._decoder.feed(data)
        for message in messages:
            self._receive(message)

    def _receive(self, message: Message) -> None:
        match message.type:
            case MessageType.RELEASE:
                self._ledger.give_back(message.slot)
            case MessageType.RESULT:
                if self._result is not None:  # late: skip to the newest
                    self._send(Message(MessageType.RESULT_RELEASE, slot=self._result.slot))
                self._result = message
            case MessageType.EVENT:
                self.state = message.body
            case MessageType.REPLY | MessageType.ERROR if message.sequence:
                self._answers[message.sequence] = message
            case MessageType.ERROR:
                raise ParameterError.from_wire(message.body)
            case _:
                raise BusError(f"a daemon does not send {message.type.name}")


def default_path() -> Path:
    """Of the socket of this user's daemon. Raises `ParameterError`."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if not folder:
        raise ParameterError("path", "XDG_RUNTIME_DIR", "it is not set; give the path of the daemon's socket")
    return Path(folder) / "driftcam" / "bus.sock"


def _check_user(sock: socket.socket) -> None:
    if (uid := peer_user(sock)) != os.getuid():
        raise BusError(f"the daemon belongs to another user ({uid})")
