"""The live parameters of a session, and everyone who wants to know when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np

from driftcam.daemon.changes import changed
from driftcam.engines.api import Parameters


class Applier(Protocol):
    """What puts parameters into effect: the supervisor. Both raise `ParameterError`."""

    async def change(self, parameters: Parameters) -> None: ...

    async def style_vector(self, image: np.ndarray) -> tuple[float, ...]: ...


class Control:
    """One after the other, changes are checked, applied and made known; a refused one leaves everything as it was."""

    def __init__(self, parameters: Parameters, applier: Applier) -> None:
        self.parameters = parameters
        self.version = 1
        self._applier = applier
        self._changing = asyncio.Lock()
        self._listeners: set[Callable[[], None]] = set()

    async def change(self, changes: object) -> Parameters:
        """Raises `ParameterError`."""
        async with self._changing:
            parameters = changed(self.parameters, changes)
            await self._applier.change(parameters)
            self.took_effect(parameters)
        return parameters

    def took_effect(self, parameters: Parameters) -> None:
        """Other parameters are in effect, by a change or because the engine went back to them."""
        self.parameters = parameters
        self.version += 1
        for listener in list(self._listeners):
            listener()

    async def use_picture(self, image: np.ndarray) -> Parameters:
        """Take the style of a picture. Raises `ParameterError`."""
        vector = await self._applier.style_vector(image)
        return await self.change({"style_vector": vector})

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """`listener` is called after each change; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)
