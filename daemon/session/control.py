"""The live parameters of a session, and everyone who wants to know when they change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from driftcam.daemon.changes import changed
from driftcam.daemon.session.history import History
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.parameters import TABLE
from driftcam.engines.api.planes import STYLE_PICTURE


class Applier(Protocol):
    """What puts parameters and session planes into effect: the stream. Doing so raises `ParameterError`."""

    async def change(self, parameters: Parameters, travel: float | None = None) -> None: ...

    async def set_plane(self, name: str, picture: np.ndarray | None) -> Parameters: ...

    def forget_plane(self, name: str) -> None: ...


class Control:
    """One after the other, changes are checked, applied and made known; a refused one leaves everything as it was.

    Attributes:
        parameters: that are in effect.
        version: counts their changes.
        history: what can be undone, whoever changed it.
    """

    def __init__(self, parameters: Parameters, applier: Applier) -> None:
        self.parameters = parameters
        self.history = History(parameters)
        self.version = 1
        self._applier = applier
        self._changing = asyncio.Lock()
        self._listeners: set[Callable[[], None]] = set()

    async def change(self, changes: object, travel: object = None) -> Parameters:
        """`travel`: seconds that this one change takes instead of `Parameters.travel`, which stays.

        Raises `ParameterError`.
        """
        seconds = None if travel is None else TABLE["travel"].check(travel)
        async with self._changing:
            parameters = changed(self.parameters, changes)
            await self._applier.change(parameters, seconds)
            if isinstance(changes, dict) and "style_vector" in changes:  # also instead of one that is not known yet
                self._applier.forget_plane(STYLE_PICTURE)
            self.took_effect(parameters)
        return parameters

    async def undo(self) -> bool:
        """Back to the look before the last step; whether there was one. Raises `ParameterError`."""
        return await self._step(self.history.undo, self.history.redo)

    async def redo(self) -> bool:
        """The opposite of `undo`; whether there was anything to do again. Raises `ParameterError`."""
        return await self._step(self.history.redo, self.history.undo)

    async def _step(self, go: Callable[[], Parameters | None], back: Callable[[], object]) -> bool:
        async with self._changing:
            parameters = go()
            if parameters is None:
                return False
            try:
                await self._applier.change(parameters)
            except ParameterError:
                back()
                raise
            if parameters.style_vector != self.parameters.style_vector:
                self._applier.forget_plane(STYLE_PICTURE)
            self.took_effect(parameters)
            return True

    def took_effect(self, parameters: Parameters) -> None:
        """Other parameters are in effect, by a change or because the engine went back to them."""
        self.history.note(parameters, time.monotonic())
        self.parameters = parameters
        self.version += 1
        self.announce()

    def announce(self) -> None:
        """Whoever listens looks at the state again."""
        for listener in list(self._listeners):
            listener()

    async def set_plane(self, name: str, picture: np.ndarray | None) -> None:
        """Use a plane until another one or None takes its place, with what follows.

        While there is no engine it waits for one. Raises `ParameterError`.
        """
        async with self._changing:
            self.took_effect(await self._applier.set_plane(name, picture))

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """`listener` is called after each change; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)
