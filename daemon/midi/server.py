"""A door for MIDI controllers: what they send is applied, of each control the newest; they are told of the values."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driftcam.daemon import background
from driftcam.daemon.controls import Controls
from driftcam.daemon.errors import RunError
from driftcam.daemon.files import write_whole
from driftcam.daemon.midi.ports import Ports, control_of
from driftcam.daemon.midi_message import MOST, ON, Control, check_target, number_of, parse_map, scaled
from driftcam.daemon.session.session import Session
from driftcam.daemon.session.sessions import DEFAULT
from driftcam.engines.api import TABLE, ParameterError

LOOK_EVERY, TELL_EVERY = 2.0, 0.05  # seconds between two looks at the ports, and at what is to be told
QUIET = 0.4  # seconds for which a fader is not told where to go while a hand is on it
log = logging.getLogger("driftcam.midi")


class MidiServer:
    """Of the session `live`.

    Args:
        ports: parts of the names of those to listen to.
        configured: what each control is for.
        kept: the file for what is learned, which goes before what is configured.
    """

    def __init__(self, controls: Controls, ports: Sequence[str], configured: Mapping[Control, str], kept: Path) -> None:
        self._controls, self._wanted, self._kept = controls, ports, kept
        self._configured, self._learned = configured, _read(kept)
        self._ports: Ports | None = None
        self._learning = ""
        self._waiting: dict[tuple[Control, bool], int] = {}
        self._came = asyncio.Event()
        self._told: dict[Control, int] = {}
        self._touched: dict[Control, float] = {}
        self._problem = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Raises `RunError` where the libraries are missing; ports may come later."""
        loop = asyncio.get_running_loop()

        def heard(port: str, message: Any) -> None:
            loop.call_soon_threadsafe(self._take, message)

        self._ports = await asyncio.to_thread(Ports, self._wanted, heard)
        works = ((self._look, "MIDI ports"), (self._apply, "MIDI"), (self._tell, "MIDI feedback"))
        self._tasks += [background.keep(work, about) for work, about in works]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._ports is not None:
            await asyncio.to_thread(self._ports.close)

    @property
    def map(self) -> dict[Control, str]:
        return {**self._configured, **self._learned}

    async def state(self) -> dict[str, Any]:
        """Plain values for JSON."""
        assert self._ports is not None
        try:
            there = await asyncio.to_thread(self._ports.there)
        except RunError:
            there = []
        return {
            "ports": there,
            "open": self._ports.open,
            "map": {str(control): target for control, target in self.map.items()},
            "learning": self._learning,
            "problem": self._problem,
        }

    def learn(self, target: str) -> None:
        """The next control that is moved is for `target`; an empty one ends the wait. Raises `ParameterError`."""
        self._learning = target and check_target(target)

    async def forget(self, control: Control) -> None:
        """What was learned of it. Raises `ParameterError` or `RunError`."""
        if control not in self._learned:
            known = ", ".join(map(str, self._learned)) or "nothing was learned"
            raise ParameterError("midi", str(control), f"choose from: {known}")
        del self._learned[control]
        await self._keep()

    # -------------------------------------------------------------------------------------------

    def _take(self, message: Any) -> None:
        """In the event loop."""
        if (read := control_of(message)) is None:
            return
        control, value = read
        if self._learning:
            self._learned[control], self._learning = self._learning, ""
            log.info("MIDI: %s is for %s now", control, self._learned[control])
            self._tasks.append(background.start(self._keep(), "keeping what MIDI has learned"))
            return
        known = self.map
        bound = control if control in known else Control(control.kind, control.number)
        if bound in known:
            # The newest comes last, and a press is not lost before its release.
            self._waiting.pop((bound, value >= ON), None)
            self._waiting[bound, value >= ON] = value
            self._came.set()

    async def _keep(self) -> None:
        learned = {str(control): target for control, target in self._learned.items()}
        try:
            await asyncio.to_thread(self._kept.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
            await asyncio.to_thread(write_whole, self._kept, json.dumps(learned, indent=2).encode() + b"\n")
        except OSError as error:
            raise RunError(f"{self._kept}: it could not be written ({error.strerror})") from None

    async def _apply(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            waiting, self._waiting = self._waiting, {}
            for (control, _), value in waiting.items():
                try:
                    await self._change(control, value)
                except ParameterError as error:
                    log.warning("MIDI: %s: %s", control, error)

    async def _change(self, control: Control, value: int) -> None:
        """Raises `ParameterError`."""
        target, before = self.map.get(control, ""), self._told.get(control, 0)
        self._told[control], self._touched[control] = value, time.monotonic()
        if field := TABLE.get(target):
            await self._controls.change(DEFAULT, target, (scaled(field, value),))
        elif target == "bypass" and control.kind == "cc":
            await self._controls.change(DEFAULT, target, (int(value >= ON),))
        elif value and (control.kind != "cc" or (value >= ON and before < ON)):
            name, _, preset = target.partition(" ")
            await self._controls.change(DEFAULT, name, (preset,) if preset else ())

    async def _look(self) -> None:
        assert self._ports is not None
        while True:
            try:
                come, gone = await asyncio.to_thread(self._ports.look)
                self._say("")
            except RunError as error:
                come, gone = set[str](), set[str]()
                self._say(str(error))
            for name in gone:
                log.warning("MIDI: %s has gone; it is waited for", name)
            for name in come:
                log.info("MIDI: listening to %s", name)
                self._told.clear()  # it is told everything anew
            await asyncio.sleep(LOOK_EVERY)

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem

    async def _tell(self) -> None:
        assert self._ports is not None
        while True:
            session = self._controls.sessions.get(DEFAULT)
            if session is not None and self._ports.open:
                for control, target in self.map.items():
                    last = self._told.get(control)
                    value = _wanted(session, target, last)
                    if value in (None, last) or control.kind == "program" or self._in_hand(control):
                        continue
                    self._told[control] = value
                    self._ports.send(control, value)
            await asyncio.sleep(TELL_EVERY)

    def _in_hand(self, control: Control) -> bool:
        return time.monotonic() - self._touched.get(control, -QUIET) < QUIET


def _wanted(session: Session, target: str, last: int | None) -> Any:
    """The value for a control that has `last`, which it keeps where that means the same; None where there is none."""
    if target == "bypass":
        return last if last is not None and (last >= ON) == session.bypassed else MOST * session.bypassed
    if (field := TABLE.get(target)) is None:
        return None
    there = getattr(session.control.parameters, target)
    return last if last is not None and scaled(field, last) == there else number_of(field, there)


def _read(kept: Path) -> dict[Control, str]:
    """What was learned; a file that is damaged is said and left."""
    try:
        return parse_map(json.loads(kept.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("%s is damaged (%s): what it says is not used", kept, error)
        return {}
