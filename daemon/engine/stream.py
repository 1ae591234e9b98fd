"""One session's stream through the engine: frames in, results out in order, whatever happens to the process.

The frames that the engine has and their results are joined here. When every frame counts (a clip into a file)
those without a result are given to the next process; a live stream goes on with the newest.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from driftcam.daemon.engine.link import EngineGone, EngineLink, StreamLink
from driftcam.daemon.engine.state import EngineState
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture, Result
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import BusError, Message, MessageType
from driftcam.engines.api.planes import NO_PLANES, Plane, Planes
from driftcam.engines.api.sizes import alike, model_size

PROVEN = 25  # results after a change that make its parameters good ones
GO_BACK_AFTER = 2  # ends in a row that are this stream's fault, until its last change is taken back


@dataclass(frozen=True)
class HeldPlane:
    """A session plane as it was given, and the parameters that followed from it."""

    picture: np.ndarray
    followed: Mapping[str, Any]

    def holds(self, parameters: Parameters) -> bool:
        """Whether nobody has changed those parameters since."""
        return all(getattr(parameters, name) == value for name, value in self.followed.items())


def read_by(port: StreamLink, picture: Picture) -> Planes:
    """The planes of a frame that the engine reads."""
    if not picture.planes:
        return NO_PLANES
    return {name: plane for name, plane in picture.planes.items() if name in port.planes}


class Keeper(Protocol):
    """What a stream needs of whoever keeps an engine running for it: the supervisor.

    Attributes:
        state, reason, model: see there.
    """

    state: EngineState
    reason: str
    model: str | None

    def check(self, parameters: Parameters) -> None: ...

    def forget(self, stream: Stream) -> None: ...

    def look_again(self) -> None: ...

    def succeeded(self) -> None: ...

    def tell(self, line: str) -> None: ...

    def pipeline_of(self, stream: Stream) -> str: ...


class Stream:
    """Opened by `Supervisor.open`.

    Attributes:
        live: the newest frame counts and late ones are dropped; otherwise none is.
        failures: ends of the engine in a row that may be this stream's fault.
        broken: why the engine is spared this stream, or empty.
        awaited: somebody waits for it and will hear of a failure.
        dropped: frames that a newer one replaced or nobody took.
        on_other_parameters: called with those that are used instead: the engine chose the size or took a plane that
            waited for it, or the last change killed every engine.
        auto_size: the engine is to choose the size when it takes the stream up.
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
        self.number, self.name, self.live, self.auto_size = number, name, live, auto_size
        self._supervisor = supervisor
        self._parameters = parameters
        self._planes: dict[str, HeldPlane] = {}
        self._asked: dict[str, np.ndarray | None] = {}  # planes that came while no engine was there to take them
        self._good = self._parameters, self._planes
        self._reads: dict[str, Plane] | None = None
        self._results_since_change = 0
        self._port: StreamLink | None = None
        self._engine: EngineLink | None = None
        self._pending: OrderedDict[int, Picture] = OrderedDict()
        self._results: asyncio.Queue[tuple[StreamLink, Message] | None] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()
        self._was_ready = self._closed = False
        self._failure: Exception | None = None
        self.failures = 0
        self.broken = ""
        self.awaited = False
        self.dropped = 0
        self.on_other_parameters: Callable[[Parameters], None] = lambda parameters: None

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
        return len(self._pending)

    @property
    def results_waiting(self) -> int:
        """That nobody has taken yet."""
        return self._results.qsize()

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
            await self._wait_for_room(port)

    async def results(self) -> AsyncIterator[Result]:
        """Results in order, until `finish`."""
        while (item := await self._results.get()) is not None:
            port, message = item
            picture = self._pending.get(message.pts)
            if port.gone:
                continue  # of a process that is gone, whose frames were given to the next
            try:
                image, planes = port.take(message)
            except BusError as error:
                self._broke_the_protocol(port, error)
                continue
            if picture is None:
                continue  # an answer to nothing we asked
            for pts in [pts for pts in self._pending if pts <= message.pts]:
                del self._pending[pts]
            self._succeeded()
            yield Result(
                image=image,
                source=picture,
                sequence=next(self._numbers),
                skipped=bool(message.body.get("skipped")),
                process_ms=float(message.body.get("process_ms", 0.0)),
                arrived=time.monotonic_ns(),
                planes=planes,
            )

    async def change(self, parameters: Parameters) -> None:
        """Apply at the next frame boundary. Raises `ParameterError` when the engine refuses; the old ones stay."""
        self._supervisor.check(parameters)
        self.auto_size &= alike(_area(parameters), _area(self._parameters))  # who asks for another has chosen
        if self._port is not None and self.attached:
            try:
                await self._port.request(MessageType.PARAMETERS, parameters.to_dict())
            except EngineGone as gone:
                raise _interrupted("parameters", gone) from None
        held = {name: plane for name, plane in self._planes.items() if plane.holds(parameters)}
        self._changed_to(parameters, held if len(held) < len(self._planes) else self._planes)

    async def set_plane(self, name: str, picture: np.ndarray | None) -> Parameters:
        """Give a session plane (at most 1024 × 1024) or take it away; the parameters that follow from it.

        It is given again to every engine. While there is none the newest waits; `on_other_parameters` tells what
        followed, and people are told where the engine refuses it then. Raises `ParameterError`.
        """
        if self._port is None or self._port.gone:
            self._asked[name] = picture
            self.mend()
            return self._parameters
        try:
            changes = await self._port.set_plane(name, picture)
        except EngineGone as gone:
            raise _interrupted(name, gone) from None
        self._took_plane(name, picture, changes)
        return self._parameters

    def forget_plane(self, name: str) -> None:
        """One that still waits for an engine is not given to it."""
        self._asked.pop(name, None)

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
            self._results.put_nowait(None)
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
            self._results.put_nowait(None)

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
        given = self._parameters
        auto = self.auto_size and not self.failures  # a size that may be too large is not tried twice
        port, told = await engine.open(self.number, given, self.live, self, timeout, auto_size=auto)
        for name, held in self._planes.items():
            await port.set_plane(name, held.picture)
        await self._catch_up(port, self._sized(given, told))
        if self._closed:  # meanwhile
            port.close()
            return told
        self._reads = port.planes
        self._port, self._engine = port, engine
        if self.live:
            self._pending.clear()
        elif not await self._give_again(port):
            raise EngineGone("it ended before it was ready")
        self._was_ready = True
        self._ready.set()
        self._announce()
        return told

    def _sized(self, given: Parameters, told: dict[str, Any]) -> Parameters:
        """Take the size over that the engine chose; the parameters with which it opened the stream."""
        area, has = told.get("area"), given
        if area is not None:
            has = _at_area(given, int(area))
            if self.auto_size:  # still
                self._parameters = _at_area(self._parameters, int(area))
                self._good = self._parameters, self._planes
                self.on_other_parameters(self._parameters)
        self.auto_size = False
        return has

    async def _catch_up(self, port: StreamLink, has: Parameters) -> None:
        """Tell the engine, which has those parameters, what was changed while it opened the stream or before."""
        while self._asked or self._parameters != has:
            if self._asked:
                has = has.replace(**await self._give_asked(port))
            else:
                has = self._parameters
                await port.request(MessageType.PARAMETERS, has.to_dict())

    async def _give_asked(self, port: StreamLink) -> dict[str, Any]:
        """Give one of the planes that wait; the parameters that the engine changed for it."""
        name, picture = next(iter(self._asked.items()))
        changes: dict[str, Any] = {}
        refusal = ""
        try:
            changes = await port.set_plane(name, picture)
        except ParameterError as error:
            refusal = f"{self.name}: {error}"
        if name not in self._asked or self._asked[name] is not picture:
            return changes  # meanwhile somebody asked for another, or for none
        del self._asked[name]
        if refusal:
            self._supervisor.tell(refusal)
        else:
            self._took_plane(name, picture, changes)
            self.on_other_parameters(self._parameters)
        return changes

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
        if self.failures >= GO_BACK_AFTER and (self._is_unproven or self._asked):
            return self._go_back()
        return ""

    def refused(self, error: ParameterError) -> str:
        """The engine does not take its parameters; returns what people are to be told.

        Raises `RunError` where frames would be lost for good.
        """
        if not self._was_ready:
            self._failure = error
        elif not self._is_unproven and not self.live:
            raise RunError(str(error))
        if self._is_unproven:
            return self._go_back()
        self.broken = str(error)
        self._announce()
        return "" if self.awaited else f"{self.name}: {error}"

    # -- for the link ---------------------------------------------------------------------------

    def on_result(self, link: StreamLink, message: Message) -> None:
        self._results.put_nowait((link, message))  # bounded by the result slots
        self._announce()

    def on_drop(self, pts: int) -> None:
        self.dropped += 1
        self._pending.pop(pts, None)

    # -------------------------------------------------------------------------------------------

    def _offer(self, picture: Picture) -> bool:
        if not self.attached or self._port is None:
            return False
        if not self._port.offer(picture.image, picture.pts, read_by(self._port, picture)):
            return False
        self._pending[picture.pts] = picture
        return True

    async def _give_again(self, port: StreamLink) -> bool:
        """The frames without a result, in order, before any new one. False when the process ended meanwhile."""
        for picture in list(self._pending.values()):
            while not port.gone and not port.offer(picture.image, picture.pts, read_by(port, picture)):
                await self._wait_for_room(port)
        return not port.gone

    def _succeeded(self) -> None:
        self.failures = 0
        self._supervisor.succeeded()
        self._results_since_change += 1
        if self._results_since_change == PROVEN:
            self._good = self._parameters, self._planes

    def _took_plane(self, name: str, picture: np.ndarray | None, changes: Mapping[str, Any]) -> None:
        """The engine has it, and changed those parameters for it."""
        parameters = self._parameters.replace(**changes)
        planes = {other: held for other, held in self._planes.items() if other != name}
        if picture is not None:
            planes[name] = HeldPlane(picture, {key: getattr(parameters, key) for key in changes})
        self._changed_to(parameters, planes)

    def _changed_to(self, parameters: Parameters, planes: dict[str, HeldPlane]) -> None:
        self._parameters, self._planes = parameters, planes
        self._results_since_change = 0
        self.mend()

    @property
    def _is_unproven(self) -> bool:
        """Whether there are other parameters or planes to go back to."""
        parameters, planes = self._good
        return self._parameters != parameters or self._planes is not planes

    def _go_back(self) -> str:
        self._parameters, self._planes = self._good
        self._asked.clear()
        self.on_other_parameters(self._parameters)
        return "the engine does not live with the last change; going back to the settings before"

    def _broke_the_protocol(self, port: StreamLink, error: BusError) -> None:
        if port is self._port and self._engine is not None:
            self._engine.end(f"it broke the bus protocol: {error}")

    def _lost(self, port: StreamLink) -> None:
        """`port` is known to be gone: until the supervisor has another one, nobody is ready."""
        if port is self._port and port.gone:
            self._ready.clear()

    async def _wait_for_room(self, port: StreamLink) -> None:
        port.room.clear()
        if not port.gone:
            await port.room.wait()
        self._lost(port)

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_for_change(self, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            pass


def _area(parameters: Parameters) -> int:
    return parameters.width * parameters.height


def _at_area(parameters: Parameters, area: int) -> Parameters:
    """Of the same shape."""
    width, height = model_size(parameters.width, parameters.height, area)
    return parameters.replace(width=width, height=height)


def _interrupted(field: str, gone: EngineGone) -> ParameterError:
    return ParameterError(field, "change", f"the engine ended meanwhile ({gone}); it goes on with the settings before")
