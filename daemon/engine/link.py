"""How the daemon meets an engine, wherever it runs: open, offer, take, ask, end.

A process of this machine over shared memory is one way (`local.py`, `process.py`, `port.py`). What such a process is
(its number, that it was stopped, that the machine has no memory, where the next one is forked from) stays behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from driftcam.engines.api import Parameters
from driftcam.engines.api.bus import Message, MessageType
from driftcam.engines.api.planes import NO_PLANES, Plane, Planes
from driftcam.engines.api.shift import NO_SHIFT, Shift


class EngineGone(Exception):
    """The engine ended; the text says why."""


class Listener(Protocol):
    """Who owns a stream."""

    def on_result(self, link: StreamLink, message: Message) -> None:
        """A RESULT, which must be given to `StreamLink.take`."""

    def on_drop(self, pts: int) -> None:
        """A newer frame replaced that of `pts`."""


class StreamLink(Protocol):
    """One stream in one engine: frames in, results out. Like the engine, it is never reused.

    Attributes:
        room: set when a frame may be taken again, or the engine has ended.
        gone: the engine has ended or the stream was closed.
        results: how many were taken.
        planes: that the engine reads, by name.
    """

    room: asyncio.Event
    gone: bool
    results: int
    planes: dict[str, Plane]

    @property
    def owing_since(self) -> float | None:
        """Monotonic seconds of the oldest frame that the engine has not dealt with."""

    def offer(self, image: np.ndarray, pts: int, planes: Planes = NO_PLANES, shift: Shift = NO_SHIFT) -> bool:
        """Send a frame, and by how much it moves parameters.

        False when there is no room: the caller waits for `room` or lets the frame go.
        """

    def take(self, message: Message) -> tuple[np.ndarray, Planes]:
        """The picture of a RESULT and the planes beside it. Raises `BusError`."""

    async def request(self, kind: MessageType, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask about this stream and wait for the answer. Raises `ParameterError` or `EngineGone`."""

    async def set_plane(self, name: str, picture: np.ndarray | None) -> dict[str, Any]:
        """Give a session plane or take it away; the changes of the parameters that follow from it.

        Raises `ParameterError` or `EngineGone`.
        """

    def close(self) -> None:
        """The engine forgets the stream; nothing comes or goes any more."""


class EngineLink(Protocol):
    """One engine from its start to its end.

    Attributes:
        gone: done when it has ended; its result is the reason.
        born: monotonic seconds of its start.
    """

    gone: asyncio.Future[str]
    born: float

    @property
    def alive(self) -> bool: ...

    @property
    def pid(self) -> int | None:
        """Of its process, where it runs on this machine."""

    @property
    def suspended(self) -> bool:
        """It prepares itself or a stream, and does not get on because somebody stopped it."""

    @property
    def owing_since(self) -> float | None:
        """Monotonic seconds of the oldest frame or request that it has not dealt with, if it should have."""

    @property
    def last_heard(self) -> float:
        """Monotonic seconds at which it last got something done, or a result was taken from it."""

    @property
    def results_held(self) -> int:
        """Results that wait to be taken, of all its streams."""

    async def ready(self, timeout: float) -> None:
        """Wait until it can open streams. Raises `EngineGone` where it does not come up."""

    async def open(
        self,
        number: int,
        parameters: Parameters,
        live: bool,
        listener: Listener,
        timeout: float,
        *,
        auto_size: bool = False,
    ) -> tuple[StreamLink, dict[str, Any]]:
        """A further stream, and what the engine tells of it: `backend` in its own words.

        `auto_size`: the engine may choose another size; it tells `area` and, in words, `size`.

        Raises `ParameterError` where the engine refuses a value, `EngineGone` where it does not come to it.
        """

    async def ask(self, message: Message) -> Message:
        """Send a request and wait for the answer. Raises `ParameterError` or `EngineGone`."""

    def end(self, reason: str) -> None:
        """End it now; `gone` will say `reason`."""

    async def close(self) -> None:
        """Let it end, or end it; free everything."""


class Engines(Protocol):
    """Where engines come from, one after the other."""

    async def next(self) -> EngineLink:
        """Start one. Raises `EngineGone` or `OSError` where none starts."""

    async def stand_by(self, calm: Callable[[], bool]) -> None:
        """While an engine runs: make what lets the next one start sooner, once `calm`. Until cancelled."""

    async def close(self) -> None:
        """Free what stands by."""
