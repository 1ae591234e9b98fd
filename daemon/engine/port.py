"""One stream's slots in one engine process: a `StreamLink`. Like the process, it is never reused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from driftcam.daemon.engine.link import Listener
from driftcam.engines.api.bus import SLOTS, BusError, Message, MessageType, SlotLedger, SlotPool
from driftcam.engines.api.planes import NO_PLANES, Plane, Planes
from driftcam.engines.api.shift import NO_SHIFT, Shift

Ask = Callable[[Message], Awaitable[Message]]
"""Sends a request under a number of its own and waits for the answer. Raises `ParameterError` or `EngineGone`."""


class Port:
    """Frames in, results out.

    Attributes:
        room: set when an input slot may have become free, or the process has ended.
        gone: the process has ended or the stream was closed.
        last_heard: monotonic seconds at which the engine last dealt with a frame or a result was taken.
        results: how many were taken.
        planes: that the engine reads, by name; it says so when it opens the stream.
    """

    def __init__(
        self,
        number: int,
        pools: tuple[SlotPool, SlotPool],
        send: Callable[[Message], None],
        ask: Ask,
        forget: Callable[[Port], None],
        listener: Listener,
    ) -> None:
        self.number = number
        self._input, self._output = pools
        self._send, self._ask, self._forget, self._listener = send, ask, forget, listener
        self._ledger = SlotLedger(SLOTS)
        self._sent: dict[int, float] = {}
        self._held: set[int] = set()
        self.room = asyncio.Event()
        self.gone = False
        self.last_heard = 0.0
        self.results = 0
        self.planes: dict[str, Plane] = {}

    @property
    def owing_since(self) -> float | None:
        """Monotonic seconds of the oldest frame that the engine has not dealt with."""
        return min(self._sent.values(), default=None)

    @property
    def results_held(self) -> int:
        """Results that wait to be taken."""
        return len(self._held)

    def offer(self, image: np.ndarray, pts: int, planes: Planes = NO_PLANES, shift: Shift = NO_SHIFT) -> bool:
        """Send a frame, and by how much it moves parameters.

        False when no slot is free: the caller waits for `room` or lets the frame go.
        """
        body = {"shift": dict(shift)} if shift else {}
        message = self._filled(image, Message(MessageType.FRAME, pts=pts, stream=self.number, body=body), planes)
        if message is not None:
            self._send(message)
        return message is not None

    def take(self, message: Message) -> tuple[np.ndarray, Planes]:
        """The picture of a RESULT and the planes beside it; its slot goes back to the engine. Raises `BusError`."""
        self._held.discard(message.slot)
        self.last_heard = time.monotonic()
        self.results += 1
        image = self._output.read(message)
        planes = {name: view.copy() for name, view in self._output.planes(message).items()}
        self._send(Message(MessageType.RESULT_RELEASE, slot=message.slot, stream=self.number))
        return image, planes

    async def request(self, kind: MessageType, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask and wait for the answer. Raises `ParameterError` or `EngineGone`."""
        return (await self._ask(Message(kind, stream=self.number, body=body or {}))).body

    async def set_plane(self, name: str, picture: np.ndarray | None) -> dict[str, Any]:
        """Give a session plane or take it away; the changes of the parameters that follow from it.

        Raises `ParameterError` or `EngineGone`.
        """
        request = Message(MessageType.PLANE, stream=self.number, body={"name": name})
        while picture is not None and not self.gone:  # where it is gone, asking says why
            if (filled := self._filled(picture, request)) is not None:
                request = filled
                break
            self.room.clear()
            await self.room.wait()
        changes = (await self._ask(request)).body.get("parameters")
        return changes if isinstance(changes, dict) else {}

    def receive(self, message: Message) -> None:
        """RELEASE and RESULT of this stream. Raises `BusError`."""
        if message.type is MessageType.RELEASE:
            self._ledger.give_back(message.slot)
            self._sent.pop(message.slot)
            if message.body.get("dropped"):  # by the thread that reads: it says nothing about the engine
                self._listener.on_drop(message.pts)
            else:
                self.last_heard = time.monotonic()
            self.room.set()
            return
        if message.slot in self._held:
            raise BusError(f"result slot {message.slot} was not the engine's to fill")
        self._held.add(message.slot)
        self._listener.on_result(self, message)

    def close(self) -> None:
        """The stream has ended."""
        if not self.gone:
            self._send(Message(MessageType.CLOSE, stream=self.number))
            self._forget(self)

    def end(self) -> None:
        """No message will come or go any more; wakes who waits."""
        self.gone = True
        self.room.set()

    def free(self) -> None:
        """After `end`: free the memory."""
        self._input.close()
        self._output.close()

    def _filled(self, image: np.ndarray, message: Message, planes: Planes = NO_PLANES) -> Message | None:
        slot = None if self.gone else self._ledger.take()
        if slot is None:
            return None
        self._sent[slot] = time.monotonic()
        return self._input.write(slot, image, message, planes)
