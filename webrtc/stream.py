"""What peers need from the rest of the program: streams that take frames and give results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import numpy as np

NAME = re.compile(r"[A-Za-z0-9-]{1,32}")
"""What a stream may be called."""
DEFAULT_NAME = "live"

Listener = Callable[[np.ndarray, int], None]


class Participant(Protocol):
    """One peer's place at a stream, from `Streams.join` to `leave`. Used from the event loop only."""

    def offer(self, image: np.ndarray, captured: int) -> bool:
        """A newer frame: RGB, (H, W, 3) uint8, and CLOCK_MONOTONIC ns. Never waits; False when it is not taken."""
        ...

    def hear(self, samples: np.ndarray, captured: int) -> None:
        """The publisher's microphone: (2, n) float32 at 48 kHz, -1 to 1, and CLOCK_MONOTONIC ns of the first sample."""
        ...

    def listen(self, listener: Listener) -> Callable[[], None]:
        """`listener(image, captured)` is called with each result: RGB, (h, w, 3) uint8, not to be changed, and the
        time of the frame it was made from. It returns at once. Returns what ends that."""
        ...

    async def leave(self) -> None:
        """The peer has gone."""
        ...


class Streams(Protocol):
    """The streams of this program by name."""

    async def join(self, name: str, *, publishes: bool) -> Participant:
        """A place at the stream `name`; `publishes`: the peer will offer frames. Raises `Refused`."""
        ...
