"""One session's stream through the engine: frames in, results out in order, whatever happens to the process.

When every frame counts (a clip into a file) those without a result are given to the next process; a live stream goes on
with the newest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import numpy as np

from driftcam.daemon.engine.in_flight import FramesInFlight, room
from driftcam.daemon.engine.link import EngineGone, EngineLink, StreamLink
from driftcam.daemon.engine.settings import StreamSettings
from driftcam.daemon.engine.state import EngineState
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture, Result
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import BusError, Message, MessageType
from driftcam.engines.api.planes import Plane

GO_BACK_AFTER = 2  # ends in a row that are this stream's fault, until its last change is taken back


class Keeper(Protocol):
    """What a stream needs of whoever keeps an engine running for it: the supervisor.

    Attributes:
        state, reason, model: see there.
    """

    state: EngineState
    reason: str
    model: str | None

    def check(self, parameters: Parameters) -> None: ...

    def forget(self, stream: SessionStream) -> None: ...

    def look_again(self) -> None: ...

    def succeeded(self) -> None: ...

    def tell(self, line: str) -> None: ...

    def pipeline_of(self, stream: SessionStream) -> str: ...


class SessionStream:
    """Opened by `Supervisor.open`.

    Attributes:
        live: the newest frame counts and late ones are dropped; otherwise none is.
        failures: ends of the engine in a row that may be this stream's fault.
        broken: why the engine is spared this stream, or empty.
        awaited: somebody waits for it and will hear of a failure.
        dropped: frames that a newer one replaced or nobody took.
        settings: what every engine is asked for.
    """

    def __init__(
        self,
        number: int,
        name: str,
        parameters: Parameters,
        live: bool,
        supervisor: Keeper,
        *,
        auto_size: bool = False,
    ) -> None:
        self.number, self.name, self.live = number, name, live
        self._supervisor = supervisor
        self.settings = StreamSettings(parameters, auto_size=auto_size, tell=self._tell)
        self._in_flight = FramesInFlight()
        self._reads: dict[str, Plane] | None = None
        self._port: StreamLink | None = None
        self._engine: EngineLink | None = None
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()
        self._was_ready = self._closed = self._travel_lent = False
        self._failure: Exception | None = None
        self.failures = 0
        self.broken = ""
        self.awaited = False
        self.dropped = 0

    @property
    def attached(self) -> bool:
        """Whether it is in the running engine process."""
        return self._ready.is_set()

    @property
    def state(self) -> EngineState:
        """What this stream sees of the engine."""
        if self.broken:
            return EngineState.BROKEN
        if self._supervisor.state is EngineState.READY and not self.attached:
            return EngineState.RESTARTING if self._was_ready else EngineState.STARTING
        return self._supervisor.state

    @property
    def model(self) -> str | None:
        """Which of the models of `engines.api.fields` makes its pictures, or None for an engine of somebody else."""
        return self._supervisor.model

    @property
    def reason(self) -> str:
        """Why there are no results, as far as it is known."""
        return self.broken or ("" if self.attached else self._supervisor.reason)

    @property
    def pipeline(self) -> str:
        """`sequential`, or `stream` whose results are some frames late; empty while it is not known."""
        return self._supervisor.pipeline_of(self) if self.attached else ""

    @property
    def frames_waiting(self) -> int:
        """That the engine has and gave no result for yet."""
        return self._in_flight.frames_waiting

    @property
    def results_waiting(self) -> int:
        """That nobody has taken yet."""
        return self._in_flight.results_waiting

    # -- for the session ------------------------------------------------------------------------

    async def opened(self) -> None:
        """Wait for the engine to take it up. Raises `ParameterError`, or `RunError` when no engine comes up."""
        self.awaited = not self._was_ready
        while not self._was_ready:
            if self._failure is not None:
                raise self._failure
            await self._wait_for_change()
        self.awaited = False

    def offer(self, picture: Picture) -> bool:
        """A live frame: taken, or dropped because no slot is free or no engine is there."""
        taken = self._offer(picture)
        self.dropped += not taken
        return taken

    async def submit(self, picture: Picture) -> None:
        """A frame that must not be lost: waits for a slot, over restarts if need be."""
        while True:
            await self._ready.wait()
            port = self._port
            if self._offer(picture):
                return
            assert port is not None
            await room(port)
            self._lost(port)

    def untouched(self, picture: Picture) -> Result:
        """A result that shows the frame itself; needs no engine."""
        return self._in_flight.untouched(picture)

    async def results(self) -> AsyncIterator[Result]:
        """Results in order, until `finish`."""
        async for result in self._in_flight.results(self._broke_the_protocol):
            self.failures = 0
            self._supervisor.succeeded()
            self.settings.succeeded()
            yield result

    async def change(self, parameters: Parameters, travel: float | None = None) -> None:
        """Apply at the next frame boundary, on a way of `travel` seconds instead of that of the parameters.

        Raises `ParameterError` when the engine refuses; the old ones stay.
        """
        once = parameters if travel is None else parameters.replace(travel=travel)
        self._supervisor.check(parameters)
        self.settings.choose_size(parameters)
        if self._port is not None and self.attached:
            try:
                await self._port.request(MessageType.PARAMETERS, once.to_dict())
            except EngineGone as gone:
                raise _interrupted("parameters", gone) from None
        self._travel_lent = once != parameters
        self.settings.change(parameters)
        self.mend()

    async def set_plane(self, name: str, picture: np.ndarray | None) -> Parameters:
        """Give a session plane (at most 1024 × 1024) or take it away; the parameters that follow from it.

        It is given again to every engine. While there is none the newest waits; `on_other_parameters` tells what
        followed, and people are told where the engine refuses it then. Raises `ParameterError`.
        """
        if self._port is None or self._port.gone:
            self.settings.ask_plane(name, picture)
            self.mend()
            return self.settings.parameters
        try:
            if self._travel_lent:  # it was for the change before alone
                await self._port.request(MessageType.PARAMETERS, self.settings.parameters.to_dict())
                self._travel_lent = False
            changes = await self._port.set_plane(name, picture)
        except EngineGone as gone:
            raise _interrupted(name, gone) from None
        self.settings.took_plane(name, picture, changes)
        self.mend()
        return self.settings.parameters

    def forget_plane(self, name: str) -> None:
        """One that still waits for an engine is not given to it."""
        self.settings.forget_plane(name)

    @property
    def planes(self) -> Mapping[str, Plane] | None:
        """That the engine reads, by name; None as long as it never said."""
        return self._reads

    async def finish(self) -> None:
        """No frame will follow: `results` ends after the last one that is still to come."""
        while True:
            await self._ready.wait()
            assert self._port is not None
            try:
                await self._port.request(MessageType.FLUSH)
            except EngineGone:
                self._lost(self._port)
                continue
            self._in_flight.end()
            return

    async def report(self, *, insight: bool = False) -> dict[str, Any]:
        """The engine's own report, empty if it cannot be had; `insight`: with pictures of flow and noise."""
        if self._port is None or not self.attached:
            return {}
        try:
            async with asyncio.timeout(5):
                return await self._port.request(MessageType.REPORT, {"insight": insight})
        except (EngineGone, TimeoutError):
            return {}

    def close(self) -> None:
        """The engine forgets it."""
        self._closed = True
        self._ready.clear()
        try:
            if self._port is not None and self._engine is not None and self._engine.alive:
                self._port.close()
        finally:
            self._supervisor.forget(self)
            self._in_flight.end()

    def mend(self) -> None:
        """A broken stream is tried again: its parameters are others, or somebody asked for it."""
        if self.broken:
            self.broken, self.failures = "", 0
            self._supervisor.look_again()

    # -- for the supervisor ---------------------------------------------------------------------

    async def attach(self, engine: EngineLink, timeout: float) -> dict[str, Any]:
        """Go on in `engine`; returns what it tells of the stream, see `EngineLink.open`.

        Raises `EngineGone`, or `ParameterError` where the engine refuses the parameters.
        """
        given = self.settings.parameters
        auto = self.settings.auto_size and not self.failures  # a size that may be too large is not tried twice
        port, told = await engine.open(self.number, given, self.live, self, timeout, auto_size=auto)
        await self.settings.give_to(port, given, told)
        if self._closed:  # meanwhile
            port.close()
            return told
        self._reads = port.planes
        self._port, self._engine = port, engine
        if self.live:
            self._in_flight.clear()
        elif not await self._in_flight.give_again(port):
            raise EngineGone("it ended before it was ready")
        self._was_ready = True
        self._ready.set()
        self._announce()
        return told

    async def proven(self, timeout: float) -> None:
        """Wait for the first result from this engine, or `timeout` where there is nothing to make one from."""
        end = time.monotonic() + timeout
        while self._port is not None and not (self._port.results or self._port.gone):
            if (left := end - time.monotonic()) <= 0 and self._port.owing_since is None:
                return
            await self._wait_for_change(max(left, 0.1))

    @property
    def owes(self) -> bool:
        """Whether the engine was busy with this stream, as far as can be told from outside."""
        return self._port is not None and self._port.owing_since is not None

    def detach(self, reason: str) -> None:
        """The process has ended."""
        self._ready.clear()
        self._port = self._engine = None
        if not self._was_ready:
            self._failure = RunError(f"the engine could not be started: {reason}")
        self._announce()

    def blame(self, reason: str, tries: int) -> str:
        """One more end was its fault, or may have been; returns what people are to be told.

        Raises `RunError` where frames would be lost for good.
        """
        self.failures += 1
        if self.failures >= tries:
            text = f"the engine ended {self.failures} times in a row without a result: {reason}"
            if not self.live:
                raise RunError(text)
            self.broken = text
            return f"{self.name}: {text}; change its parameters or restart the engine to try again"
        if self.failures >= GO_BACK_AFTER and (self.settings.unproven or self.settings.waiting):
            return self._go_back()
        return ""

    def refused(self, error: ParameterError) -> str:
        """The engine does not take its parameters; returns what people are to be told.

        Raises `RunError` where frames would be lost for good.
        """
        if not self._was_ready:
            self._failure = error
        elif not self.settings.unproven and not self.live:
            raise RunError(str(error))
        if self.settings.unproven:
            return self._go_back()
        self.broken = str(error)
        self._announce()
        return "" if self.awaited else f"{self.name}: {error}"

    # -- for the link ---------------------------------------------------------------------------

    def on_result(self, link: StreamLink, message: Message) -> None:
        self._in_flight.arrive(link, message)
        self._announce()

    def on_drop(self, pts: int) -> None:
        self.dropped += 1
        self._in_flight.drop(pts)

    # -------------------------------------------------------------------------------------------

    def _offer(self, picture: Picture) -> bool:
        return self.attached and self._port is not None and self._in_flight.offer(self._port, picture)

    def _go_back(self) -> str:
        self.settings.go_back()
        return "the engine does not live with the last change; going back to the settings before"

    def _broke_the_protocol(self, port: StreamLink, error: BusError) -> None:
        if port is self._port and self._engine is not None:
            self._engine.end(f"it broke the bus protocol: {error}")

    def _lost(self, port: StreamLink) -> None:
        """`port` is known to be gone: until the supervisor has another one, nobody is ready."""
        if port is self._port and port.gone:
            self._ready.clear()

    def _tell(self, line: str) -> None:
        self._supervisor.tell(f"{self.name}: {line}")

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_for_change(self, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            pass


def _interrupted(field: str, gone: EngineGone) -> ParameterError:
    return ParameterError(field, "change", f"the engine ended meanwhile ({gone}); it goes on with the settings before")
