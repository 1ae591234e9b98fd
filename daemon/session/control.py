"""The live parameters of a session, and everyone who wants to know when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.parameters import MAX_PROMPT
from driftcam.engines.api.styles import from_prompt


class Applier(Protocol):
    """What puts parameters into effect: the supervisor. Both raise `ParameterError`."""

    async def change(self, parameters: Parameters) -> None: ...

    async def style_vector(self, image: np.ndarray) -> tuple[float, ...]: ...


def changed(parameters: Parameters, changes: object) -> Parameters:
    """`parameters` with `changes` as they come from outside: fields of `Parameters`, and `prompt`.

    Raises `ParameterError` naming the field; nothing is changed then.
    """
    if not isinstance(changes, dict) or not changes:
        raise ParameterError("changes", changes, "send an object of parameters and their new values")
    values: dict[str, Any] = dict(changes)
    if "styles" in values:
        values.setdefault("prompts", ())  # who picks a style has done with the words
    if "prompt" in values:
        prompt = values.pop("prompt")
        if not isinstance(prompt, str) or not 0 < len(prompt) <= MAX_PROMPT:
            raise ParameterError("prompt", prompt, f"give a text of 1 to {MAX_PROMPT} letters")
        values |= from_prompt(prompt)
    return parameters.replace(**values)


def parameters_json(parameters: Parameters) -> dict[str, Any]:
    """For people: without the 100 numbers of a style picture."""
    values = parameters.to_dict()
    values["style_picture"] = values.pop("style_vector") is not None
    return values


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
