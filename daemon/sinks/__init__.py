"""Where results go."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from driftcam.daemon.frames import Result


class Sink(Protocol):
    """Opened by its constructor, which raises `ParameterError`; used from the event loop only.

    `offer` is called with every result and never waits: False means that there was no room. `room` waits until
    there is; it is only asked when no frame may be lost. Both raise `RunError` once the sink has failed.
    `close` finishes what was begun and frees everything, also after a failure, and raises `RunError` where
    finishing failed.
    """

    name: str

    async def room(self) -> None: ...

    def offer(self, result: Result) -> bool: ...

    async def close(self) -> None: ...


@runtime_checkable
class ShowsPlaceholders(Protocol):
    """A sink that somebody looks at: while there are no results it shows why."""

    def show_placeholder(self, image: np.ndarray) -> None:
        """`image`, RGB (h, w, 3) u8, says what is going on. Called about every second until results come again."""


@runtime_checkable
class ShowsAlpha(Protocol):
    """A sink that may show how much of a picture is there: the alpha of a result, or else that of its frame."""

    alpha: bool
