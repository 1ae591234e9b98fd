"""Keeps an engine running: starts it, notices its crash or hang, starts it again with the last good parameters.

The frames that the engine has and their results are joined here. When every frame counts (a clip into a file)
those without a result are given to the next process; a live stream goes on with the newest.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from daemon.engine_process import EngineGone, EngineProcess
from daemon.errors import RunError
from daemon.frames import Picture, Result
from engines.api import ParameterError, Parameters
from engines.api.bus import BusError, Message, MessageType


class EngineState(StrEnum):
    """What the engine is doing, as the page shows it."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits, in seconds, and how often it tries.

    Attributes:
        start: until a new process must be ready (libraries and networks are loaded and compiled).
        answer: until a process must have dealt with a frame or a request.
        backoff, backoff_most: wait before the first restart in a row, doubled each time up to the most.
        tries: processes in a row that may end without a result before a run that needs every frame gives up.
    """

    start: float = 120.0
    answer: float = 30.0
    backoff: float = 0.25
    backoff_most: float = 8.0
    tries: int = 4


PROVEN = 25  # results after a change that make its parameters good ones
GO_BACK_AFTER = 2  # processes in a row that end without a result, until the last change is taken back


def restart_delay(patience: Patience, failures: int) -> float:
    """Seconds before the next start, after `failures` ends in a row without a result between them."""
    return min(patience.backoff * 2 ** max(failures - 1, 0), patience.backoff_most)


def hangs(patience: Patience, now: float, owing_since: float | None, last_taken: float, results_waiting: int) -> bool:
    """Whether a process is stuck: it owes us something for too long, and not because it waits for us."""
    if owing_since is None or results_waiting:
        return False
    return now - max(owing_since, last_taken) > patience.answer


class Supervisor:
    """The engine as the session sees it: frames in, results out, whatever happens to the process.

    `on_going_back` is called with the parameters that are used instead, when the last change kills every engine.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        notify: Callable[[str], None],
        patience: Patience | None = None,
    ) -> None:
        self._command, self._notify, self._patience = command, notify, patience or Patience()
        self._process: EngineProcess | None = None
        self._parameters = self._good = Parameters()
        self._results_since_change = 0
        self._live = True
        self._pending: OrderedDict[int, Picture] = OrderedDict()
        self._results: asyncio.Queue[tuple[EngineProcess, Message] | None] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._ready = asyncio.Event()
        self._failures = 0
        self.on_going_back: Callable[[Parameters], None] = lambda parameters: None
        self.state = EngineState.STARTING
        self.restarts = 0
        self.dropped = 0
        self.backend = ""

    async def prepare(self) -> None:
        """Spawn the first process, which loads its libraries until `start`."""
        self._process = await EngineProcess.spawn(self._command, self._on_result, self._on_drop)

    async def start(self, parameters: Parameters, *, live: bool) -> None:
        """Make the first process ready. Raises `ParameterError`, or `RunError` when it does not come up."""
        assert self._process is not None, "prepare first"
        self._parameters = self._good = parameters
        self._live = live
        try:
            self.backend = await self._process.welcome(parameters, live, self._patience.start)
        except (EngineGone, BusError) as error:
            raise RunError(f"the engine could not be started: {error}") from None
        self._enter_service()

    async def keep_alive(self) -> None:
        """Runs beside the session until it is cancelled. Raises `RunError` where frames would be lost for good."""
        while True:
            assert self._process is not None
            reason = await self._wait_for_end(self._process)
            self.restarts += 1
            await self._restart(reason)

    def offer(self, picture: Picture) -> bool:
        """A live frame: taken, or dropped because no slot is free or no engine is there."""
        taken = self._offer(picture)
        self.dropped += not taken
        return taken

    def _offer(self, picture: Picture) -> bool:
        if not self._ready.is_set() or self._process is None:
            return False
        if not self._process.offer(picture.image, picture.pts):
            return False
        self._pending[picture.pts] = picture
        return True

    async def submit(self, picture: Picture) -> None:
        """A frame that must not be lost: waits for a slot, over restarts if need be."""
        while True:
            await self._ready.wait()
            process = self._process
            if self._offer(picture):
                return
            assert process is not None
            await self._wait_for_room(process)

    async def results(self) -> AsyncIterator[Result]:
        """Results in order, until `finish`."""
        while (item := await self._results.get()) is not None:
            process, message = item
            picture = self._pending.get(message.pts)
            if process is not self._process or not process.alive or picture is None:
                continue  # of a process that is gone, whose frames were given to the next
            try:
                image = process.take(message)
            except BusError as error:
                process.kill(f"it broke the bus protocol: {error}")
                continue
            for pts in [pts for pts in self._pending if pts <= message.pts]:
                del self._pending[pts]
            self._failures = 0
            self._results_since_change += 1
            if self._results_since_change == PROVEN:
                self._good = self._parameters
            yield Result(
                image=image,
                source=picture,
                sequence=next(self._numbers),
                skipped=bool(message.body.get("skipped")),
                process_ms=float(message.body.get("process_ms", 0.0)),
                arrived=time.monotonic_ns(),
            )

    async def change(self, parameters: Parameters) -> None:
        """Apply at the next frame boundary. Raises `ParameterError` when the engine refuses; the old ones stay."""
        if self._ready.is_set() and self._process is not None:
            try:
                await self._process.request(MessageType.PARAMETERS, parameters.to_dict())
            except EngineGone as gone:
                raise _interrupted("parameters", gone) from None
        self._parameters = parameters
        self._results_since_change = 0

    async def style_vector(self, image: np.ndarray) -> tuple[float, ...]:
        """A picture (at most 1024 × 1024) as a style. Raises `ParameterError`."""
        if not self._ready.is_set() or self._process is None:
            raise ParameterError("style_image", "picture", "the engine is starting; try again in a moment")
        try:
            return await self._process.style_vector(image)
        except EngineGone as gone:
            raise _interrupted("style_image", gone) from None

    async def finish(self) -> None:
        """No frame will follow: `results` ends after the last one that is still to come."""
        while True:
            await self._ready.wait()
            assert self._process is not None
            try:
                await self._process.request(MessageType.FLUSH)
            except EngineGone:
                self._lost(self._process)
                continue
            self._results.put_nowait(None)
            return

    async def report(self) -> dict[str, Any]:
        """The engine's own report, empty if it cannot be had."""
        if self._process is None or not self._ready.is_set():
            return {}
        try:
            async with asyncio.timeout(5):
                return await self._process.request(MessageType.REPORT)
        except (EngineGone, TimeoutError):
            return {}

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process is not None and self._process.alive else None

    async def close(self) -> None:
        """End the process."""
        self.state = EngineState.STOPPED
        self._ready.clear()
        if self._process is not None:
            await self._process.close()

    async def _restart(self, reason: str) -> None:
        """Until a new process runs. Raises `RunError` when it gives up."""
        self._ready.clear()
        self.state = EngineState.RESTARTING
        while True:
            self._failures += 1
            if not self._live and self._failures >= self._patience.tries:
                raise RunError(f"the engine ended {self._failures} times in a row without a result: {reason}")
            if self._failures >= GO_BACK_AFTER and self._parameters != self._good:
                self._notify("the engine does not live with the last change; going back to the settings before")
                self._parameters = self._good
                self.on_going_back(self._good)
            delay = restart_delay(self._patience, self._failures)
            self._notify(f"the engine ended ({reason}); starting it again in {delay:g} s")
            if self._process is not None:
                await self._process.close()
            await asyncio.sleep(delay)
            self._process = await EngineProcess.spawn(self._command, self._on_result, self._on_drop)
            try:
                self.backend = await self._process.welcome(self._parameters, self._live, self._patience.start)
            except (EngineGone, BusError, ParameterError) as error:
                reason = str(error)
                continue
            if self._live:
                self._pending.clear()
            elif not await self._give_again(self._process):
                reason = self._process.gone.result()
                continue
            self._enter_service()
            return

    async def _give_again(self, process: EngineProcess) -> bool:
        """The frames without a result, in order, before any new one. False when the process ended meanwhile."""
        for picture in list(self._pending.values()):
            while process.alive and not process.offer(picture.image, picture.pts):
                await self._wait_for_room(process)
        return process.alive

    def _enter_service(self) -> None:
        self.state = EngineState.READY
        self._ready.set()

    def _on_result(self, process: EngineProcess, message: Message) -> None:
        self._results.put_nowait((process, message))  # bounded by the result slots

    def _on_drop(self, pts: int) -> None:
        self.dropped += 1
        self._pending.pop(pts, None)

    def _lost(self, process: EngineProcess) -> None:
        """`process` is known to be gone: until `keep_alive` has another one, nobody is ready."""
        if process is self._process and not process.alive:
            self._ready.clear()

    async def _wait_for_room(self, process: EngineProcess) -> None:
        process.room.clear()
        if process.alive:
            await process.room.wait()
        self._lost(process)

    async def _wait_for_end(self, process: EngineProcess) -> str:
        while True:
            done, _ = await asyncio.wait([process.gone], timeout=min(0.5, self._patience.answer / 4))
            if done:
                return process.gone.result()
            waiting = self._results.qsize()
            if hangs(self._patience, time.monotonic(), process.owing_since, process.last_taken, waiting):
                process.kill(f"it said nothing for {self._patience.answer:g} s")


def _interrupted(field: str, gone: EngineGone) -> ParameterError:
    return ParameterError(field, "change", f"the engine ended meanwhile ({gone}); it goes on with the settings before")
