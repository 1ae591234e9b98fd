"""Guidance `initialize` asks the network what it would paint without a style: here, only once for a few frames."""

from __future__ import annotations

from torch import Tensor

from driftcam.engines.diffusion.guidance import DIFFERENCE

# On a CPU each question takes a row's time. Real clips are as steady as with one on every frame, within 5 %
# (`scripts.bench_guidance`).
HELD_FRAMES = 3


class HeldDifference:
    """What a style changed in one stream's last frames: `DIFFERENCE`, as `Frame.carried` sees and `leave` keeps it."""

    def __init__(self) -> None:
        self._difference: Tensor | None = None
        self._age = 0

    def forget(self) -> None:
        """Ask for the next frame."""
        self._difference = None

    def keep(self, name: str, state: Tensor) -> None:
        """Remember what a frame left."""
        if name == DIFFERENCE:
            self._difference = state

    def next(self, *, alike: bool) -> dict[str, Tensor]:
        """For the next frame, empty to ask; `alike`: its noise and cells are those of the frame before."""
        self._age += 1
        if self._age >= HELD_FRAMES or not alike or self._difference is None:
            self._age, self._difference = 0, None
        return {} if self._difference is None else {DIFFERENCE: self._difference}
