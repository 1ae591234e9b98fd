"""What a stream asks of every engine that takes it up: parameters and session planes.

Those with which results came are remembered: a stream whose last change kills every engine goes back to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftcam.daemon.engine.link import StreamLink
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import MessageType
from driftcam.engines.api.sizes import alike, model_size

PROVEN = 25  # results after a change that make its settings good ones


@dataclass(frozen=True)
class HeldPlane:
    """A session plane as it was given, and the parameters that followed from it."""

    picture: np.ndarray
    followed: Mapping[str, Any]

    def holds(self, parameters: Parameters) -> bool:
        """Whether nobody has changed those parameters since."""
        return all(getattr(parameters, name) == value for name, value in self.followed.items())


class StreamSettings:
    """Of one stream.

    Attributes:
        parameters: the newest.
        auto_size: the engine is to choose the size when it takes the stream up.
        on_other_parameters: called with those that are used instead: the engine chose the size or took a plane that
            waited for it, or the last change killed every engine.
    """

    def __init__(self, parameters: Parameters, *, auto_size: bool, tell: Callable[[str], None]) -> None:
        self.parameters, self.auto_size, self._tell = parameters, auto_size, tell
        self._planes: dict[str, HeldPlane] = {}
        self._asked: dict[str, np.ndarray | None] = {}  # planes that came while no engine was there to take them
        self._good = self.parameters, self._planes
        self._results_since_change = 0
        self.on_other_parameters: Callable[[Parameters], None] = lambda parameters: None

    def choose_size(self, parameters: Parameters) -> None:
        """Who asks for parameters of another size has chosen it."""
        self.auto_size &= alike(_area(parameters), _area(self.parameters))

    def change(self, parameters: Parameters) -> None:
        """The engine has taken them, or will; planes whose parameters they change are no longer held."""
        held = {name: plane for name, plane in self._planes.items() if plane.holds(parameters)}
        self._change(parameters, held if len(held) < len(self._planes) else self._planes)

    def took_plane(self, name: str, picture: np.ndarray | None, changes: Mapping[str, Any]) -> None:
        """The engine has it, and changed those parameters for it."""
        parameters = self.parameters.replace(**changes)
        planes = {other: held for other, held in self._planes.items() if other != name}
        if picture is not None:
            planes[name] = HeldPlane(picture, {key: getattr(parameters, key) for key in changes})
        self._change(parameters, planes)

    def ask_plane(self, name: str, picture: np.ndarray | None) -> None:
        """It waits for an engine; the newest of a name does."""
        self._asked[name] = picture

    def forget_plane(self, name: str) -> None:
        """One that still waits is not given to any engine."""
        self._asked.pop(name, None)

    async def give_to(self, port: StreamLink, given: Parameters, told: Mapping[str, Any]) -> None:
        """Bring an engine up to date that opened the stream with `given` and `told` what it chose.

        Raises `EngineGone`, or `ParameterError` where it refuses the settings.
        """
        for name, held in self._planes.items():
            await port.set_plane(name, held.picture)
        has = self._take_size(given, told)
        while self._asked or self.parameters != has:  # changed while it opened the stream, or before
            if self._asked:
                has = has.replace(**await self._give_asked(port))
            else:
                has = self.parameters
                await port.request(MessageType.PARAMETERS, has.to_dict())

    # -- what proves good -----------------------------------------------------------------------

    def succeeded(self) -> None:
        """A result came."""
        self._results_since_change += 1
        if self._results_since_change == PROVEN:
            self._good = self.parameters, self._planes

    @property
    def unproven(self) -> bool:
        """Whether there are others to go back to."""
        parameters, planes = self._good
        return self.parameters != parameters or self._planes is not planes

    @property
    def waiting(self) -> bool:
        """Whether planes wait for an engine."""
        return bool(self._asked)

    def go_back(self) -> None:
        """To those that were good; planes that wait are forgotten."""
        self.parameters, self._planes = self._good
        self._asked.clear()
        self.on_other_parameters(self.parameters)

    # -------------------------------------------------------------------------------------------

    def _change(self, parameters: Parameters, planes: dict[str, HeldPlane]) -> None:
        self.parameters, self._planes = parameters, planes
        self._results_since_change = 0

    def _take_size(self, given: Parameters, told: Mapping[str, Any]) -> Parameters:
        """Take the size over that the engine chose; the parameters with which it opened the stream."""
        area, has = told.get("area"), given
        if area is not None:
            has = _at_area(given, int(area))
            if self.auto_size:  # still
                self.parameters = _at_area(self.parameters, int(area))
                self._good = self.parameters, self._planes
                self.on_other_parameters(self.parameters)
        self.auto_size = False
        return has

    async def _give_asked(self, port: StreamLink) -> dict[str, Any]:
        """Give one of the planes that wait; the parameters that the engine changed for it."""
        name, picture = next(iter(self._asked.items()))
        changes: dict[str, Any] = {}
        refusal = ""
        try:
            changes = await port.set_plane(name, picture)
        except ParameterError as error:
            refusal = str(error)
        if name not in self._asked or self._asked[name] is not picture:
            return changes  # meanwhile somebody asked for another, or for none
        del self._asked[name]
        if refusal:
            self._tell(refusal)
        else:
            self.took_plane(name, picture, changes)
            self.on_other_parameters(self.parameters)
        return changes


def _area(parameters: Parameters) -> int:
    return parameters.width * parameters.height


def _at_area(parameters: Parameters, area: int) -> Parameters:
    """Of the same shape."""
    width, height = model_size(parameters.width, parameters.height, area)
    return parameters.replace(width=width, height=height)
