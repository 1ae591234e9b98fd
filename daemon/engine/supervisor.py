"""Keeps one engine running for all streams: starts it, notices its crash or hang, starts it again.

After an end the streams return one by one, those that may have caused it last, each until its first result: so
that a stream which kills every engine is found, set back to its last good parameters, and left out if that does not
help, while the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from driftcam.daemon.engine.link import EngineGone, EngineLink, Engines
from driftcam.daemon.engine.state import EngineState, Timeouts, hangs, restart_delay, transition
from driftcam.daemon.engine.stream import SessionStream
from driftcam.daemon.errors import RunError
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import Message, MessageType

log = logging.getLogger("driftcam.engine")

PROOF = 5.0  # seconds for the first result of a stream that is suspected, while it gets no frames
LONG_LIFE = 60.0  # seconds after which an end does not count as one in a row


class Supervisor:
    """One engine and the streams in it.

    Attributes:
        streams: the open ones.
        reason: why the last process ended, empty while one is ready.
        restarts: how often.
        backend: the engine's words on what it runs on.
        model: which of the models of `engines.api.fields` runs, or None for an engine of somebody else.
        engine: its last answer to the heartbeat: memory and the like.
    """

    def __init__(
        self,
        engines: Engines,
        *,
        notify: Callable[[str], None],
        timeouts: Timeouts | None = None,
        model: str | None = None,
    ) -> None:
        self._engines, self._notify, self._timeouts = engines, notify, timeouts or Timeouts()
        self._link: EngineLink | None = None
        self._numbers = itertools.count(1)
        self._proving: SessionStream | None = None
        self._look = asyncio.Event()
        self._restart_asked = asyncio.Event()
        self._failures = 0
        self._size = ""  # what was told last of the size that the engine chose
        self.streams: list[SessionStream] = []
        self.state = EngineState.STARTING
        self.reason = ""
        self.restarts = 0
        self.backend = ""
        self.model = model
        self.engine: dict = {}

    def open(self, name: str, parameters: Parameters, *, live: bool, auto_size: bool = False) -> SessionStream:
        """A further stream; the engine takes it up as soon as it can (see `SessionStream.opened`).

        Raises `ParameterError` for what its model cannot do.
        """
        self.check(parameters)
        stream = SessionStream(next(self._numbers), name, parameters, live, self, auto_size=auto_size)
        self.streams.append(stream)
        self.look_again()
        return stream

    def check(self, parameters: Parameters) -> None:
        """Raises `ParameterError` for what the model cannot do, also while no engine is there to say so."""
        if self.model is not None:
            parameters.check_model(self.model)

    async def keep_alive(self) -> None:
        """Start the process and go on until cancelled. Raises `RunError` where frames would be lost for good."""
        while True:
            try:
                reason = await self._one_life()
            except (EngineGone, OSError) as error:  # OSError: the process cannot even be spawned
                reason = str(error)
            except RunError:
                raise
            except Exception as error:
                log.exception("keeping the engine failed")
                reason = f"a mistake of the daemon ({error!r}); its log says more"
            await self._after_the_end(reason)

    def restart(self, reason: str = "somebody asked for it") -> None:
        """End the process and start another one at once; a broken engine or stream is tried again."""
        self._failures = 0
        self._restart_asked.set()
        if self.state is EngineState.READY and self._link is not None:
            self._link.end(reason)
        for stream in self.streams:
            stream.mend()

    @property
    def pid(self) -> int | None:
        """Of the running process, where it is one of this machine."""
        return self._link.pid if self._link is not None and self._link.alive else None

    async def close(self) -> None:
        """End the engine."""
        self.state = EngineState.STOPPED
        if self._link is not None:
            await self._link.close()
        await self._engines.close()

    # -- for the streams ------------------------------------------------------------------------

    def forget(self, stream: SessionStream) -> None:
        """It was closed."""
        with contextlib.suppress(ValueError):
            self.streams.remove(stream)
        self.look_again()

    def look_again(self) -> None:
        """A stream wants to be taken up."""
        self._look.set()

    def pipeline_of(self, stream: SessionStream) -> str:
        """Which one the engine runs for it, as it last told; empty while that is not known."""
        return str(self.engine.get("pipelines", {}).get(str(stream.number), ""))

    def succeeded(self) -> None:
        """A stream had a result."""
        self._failures = 0

    def tell(self, line: str) -> None:
        """People; an empty line is none."""
        if line:
            self._notify(line)

    # -------------------------------------------------------------------------------------------

    async def _one_life(self) -> str:
        """From a new engine to its end; returns why it ended. Raises `EngineGone` when it did not come up."""
        link = self._link = await self._engines.next()
        self._restart_asked.clear()
        tasks = [asyncio.create_task(self._watch_preparation(link))]
        try:
            await link.ready(self._timeouts.start)
            self._become(EngineState.READY)
            self.reason = ""
            calm = self._engines.stand_by(lambda: any(stream.attached for stream in self.streams))
            beside = [self._attach_streams(link), self._ask_how_it_is(link), calm]
            tasks += [asyncio.create_task(work) for work in beside]
            return await self._wait_for_end(link, tasks)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, EngineGone):
                    raise result

    async def _attach_streams(self, link: EngineLink) -> None:
        """Take up every stream that is not in the engine yet, one after the other, for as long as it lives."""
        while True:
            stream = next_to_attach(self.streams)
            if stream is None:
                self._look.clear()
                await self._look.wait()
                continue
            suspected = stream.failures > 0
            self._proving = stream
            try:
                self._hear(await stream.attach(link, self._timeouts.start))
            except ParameterError as error:
                self.tell(stream.refused(error))
            else:
                if suspected:
                    await stream.proven(PROOF)
            if link.alive:  # else it was this stream
                self._proving = None

    def _hear(self, told: dict[str, Any]) -> None:
        """What the engine says of a stream that it has taken up."""
        self.backend = str(told.get("backend", ""))
        size, self._size = self._size, str(told.get("size", self._size))
        if self._size != size:
            self.tell(f"size auto: {self._size}")

    async def _after_the_end(self, reason: str) -> None:
        """Find out whose fault it was, and wait before the next start. Raises `RunError` when it gives up."""
        link, self.reason = self._link, reason
        lived = time.monotonic() - link.born if link is not None else 0.0
        asked = self._restart_asked.is_set()
        self._failures = 0 if asked else 1 if lived > LONG_LIFE else self._failures + 1
        self.restarts += 1
        self._become(EngineState.RESTARTING)
        suspects = [] if asked else self._suspects()
        self._proving = None
        for stream in self.streams:
            stream.detach(reason)
        for stream in suspects:
            self.tell(stream.blame(reason, self._timeouts.tries))
        if not suspects and self._failures >= self._timeouts.tries:
            await self._rest(reason)
        else:
            delay = restart_delay(self._timeouts, self._failures)
            if not any(stream.awaited for stream in self.streams):
                when = f" in {delay:g} s" if delay else ""
                self.tell(f"the engine ended ({reason}); starting it again{when}")
            if link is not None:
                await link.close()
            await self._pause(delay)
        self._link = None

    def _suspects(self) -> list[SessionStream]:
        """Whose fault the end may be."""
        if self._proving is not None:
            return [self._proving]
        return [stream for stream in self.streams if stream.owes]

    async def _rest(self, reason: str) -> None:
        """The engine is broken: leave it alone for a while or until `restart`."""
        text = f"the engine ended {self._failures} times in a row without a result: {reason}"
        if any(not stream.live for stream in self.streams):
            raise RunError(text)
        self._become(EngineState.BROKEN)
        self.reason = text
        self.tell(f"{text}; it is tried again in {self._timeouts.rest:g} s")
        if self._link is not None:
            await self._link.close()
        await self._pause(self._timeouts.rest)
        self._become(EngineState.RESTARTING)

    async def _pause(self, seconds: float) -> None:
        """Cut short by `restart`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._restart_asked.wait()

    async def _watch_preparation(self, link: EngineLink) -> None:
        """End an engine that was stopped while it loads or compiles, which otherwise may take as long as it takes."""
        since = time.monotonic()
        while link.alive:
            await asyncio.sleep(self._timeouts.answer / 8)
            if not link.suspended:
                since = time.monotonic()
            elif time.monotonic() - since > self._timeouts.answer:
                link.end(f"it was stopped for {self._timeouts.answer:g} s while it started")

    async def _wait_for_end(self, link: EngineLink, beside: Sequence[asyncio.Task[None]]) -> str:
        """Of the engine, or of the work beside it on a mistake, without which it would be of no use."""
        every = min(0.5, self._timeouts.answer / 4)
        while True:
            await asyncio.wait([link.gone], timeout=every)
            if link.gone.done():
                return link.gone.result()
            for failed in (task for task in beside if task.done()):
                if (error := failed.exception()) is not None and not isinstance(error, EngineGone):
                    link.end("a mistake of the daemon")
                    raise error
            if hangs(self._timeouts, time.monotonic(), link.owing_since, link.last_heard, link.results_held):
                link.end(f"it said nothing for {self._timeouts.answer:g} s")

    async def _ask_how_it_is(self, link: EngineLink) -> None:
        """The heartbeat: also an engine that has nothing to do must answer."""
        while True:
            self.engine = (await link.ask(Message(MessageType.REPORT))).body
            for level, line in self.engine.pop("log", ()):
                if level >= logging.WARNING:
                    self.tell(line)
                else:
                    log.log(level, "%s", line)
            await asyncio.sleep(self._timeouts.heartbeat)

    def _become(self, state: EngineState) -> None:
        self.state = transition(self.state, state)


def next_to_attach(streams: Iterable[SessionStream]) -> SessionStream | None:
    """The least suspected stream that waits to be taken up; of those the oldest."""
    waiting = [stream for stream in streams if not stream.attached and not stream.broken]
    return min(waiting, key=lambda stream: (stream.failures, stream.number), default=None)
