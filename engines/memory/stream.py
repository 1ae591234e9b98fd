"""The memory of one stream beside its frames: when it begins anew, and what each frame's painting is blended with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.memory.texture import Followed, TextureMemory
from driftcam.engines.motion.plane import motion_plane

SAME_PAINTING = frozenset(
    {"memory", "travel", "similarity_threshold", "max_skip", "anchors", "anchor_strength", "smooth"}
)
"""Parameters that leave what is painted as it is; after a change of another one nothing remembered holds."""
# Least share of fresh texture and tone while the painting travels to other parameters, and for some frames after that:
# it lags some three frames behind.
_FRESH_ON_THE_WAY, _FRAMES_TO_SETTLE = 0.3, 12


@dataclass
class Recall:
    """What a frame's painting is blended with, and how far that holds, which is known before the painting is done.

    Attributes:
        blends: there is something to blend it with; else the frame was followed for its motion alone.
        tells: its motion is asked for.
        offset, moved: see `motion_plane`.
    """

    memory: TextureMemory
    followed: Future[Followed | None]
    blends: bool
    tells: bool
    offset: tuple[float, float]
    moved: tuple[float, float]
    done: bool = False

    def blend(self, painting: np.ndarray) -> np.ndarray:
        """See `TextureMemory.blend`."""
        self.done = True
        return self.memory.blend(painting, self.followed.result()) if self.blends else painting

    def motion(self, shape: tuple[int, int]) -> np.ndarray | None:
        """How the last frame came to this one of (height, width): a plane, where one is asked for and there is any."""
        followed = self.followed.result() if self.tells else None
        if followed is None:
            return None
        return motion_plane(followed.flow, followed.surface, self.memory.size, self.offset, self.moved, shape)


class StreamMemory:
    """Call from the stream's thread.

    Args:
        side: a thread in which photographs are followed, beside the networks.
    """

    def __init__(self, side: Executor) -> None:
        self._side = side
        self._memory: TextureMemory | None = None
        self._last: Recall | None = None
        self._share = 0.0
        self._blends = self._tells = False
        self._offset = (0.0, 0.0)
        self._unsettled = 0

    def use(self, parameters: Parameters, size: tuple[int, int], *, anew: bool) -> None:
        """From the next frame on, in networks' pictures of `size` (H, W); `anew`: nothing remembered holds any more.

        There is none where none is wanted, or where nothing is painted; then frames are followed where others ask for
        their motion, or not at all.
        """
        began = not self._blends
        self._share, self._tells = parameters.memory, parameters.smooth != "off"
        self._blends = bool(parameters.memory and parameters.strength)
        if not self._blends and not self._tells:
            self._memory = None
        elif self._memory is None or self._memory.size != size:
            self._memory = TextureMemory(*size)
        elif anew or (self._blends and began):
            self._memory.reset()

    def wait(self) -> None:
        """Until the last photograph is not read any more."""
        if self._last is not None:
            self._last.followed.exception()

    def begin(
        self,
        photo: np.ndarray,
        offset: tuple[float, float],
        jump: tuple[int, int],
        cut: Callable[[], bool],
        *,
        travels: bool,
    ) -> Recall | None:
        """Follow the next frame. What it returns is the frame's, however many others begin meanwhile.

        Args:
            photo: (H, W, 3) u8, left alone until `wait` has returned.
            offset: (x, y) pixels by which the frame lies right and down in `photo`.
            jump: (x, y) pixels by which the whole scene is known to have moved.
            cut: whether it shows another scene than the one before; asked in the side thread.
            travels: the painting is on its way to other parameters.
        """
        if self._memory is None:
            return None
        self._unsettled = _FRAMES_TO_SETTLE if travels else max(0, self._unsettled - 1)
        least_fresh = _FRESH_ON_THE_WAY if self._unsettled else 0.0
        # The remembered picture can be moved beside the networks where no other frame is still to be blended.
        alone = self._blends and (self._last is None or self._last.done)
        moved = offset[0] - self._offset[0], offset[1] - self._offset[1]
        self._offset = offset
        followed = self._side.submit(_follow, self._memory, photo, jump, cut, self._share, least_fresh, alone)
        self._last = Recall(self._memory, followed, self._blends, self._tells, offset, moved)
        return self._last


def _follow(
    memory: TextureMemory,
    photo: np.ndarray,
    jump: tuple[int, int],
    cut: Callable[[], bool],
    share: float,
    least_fresh: float,
    alone: bool,
) -> Followed | None:
    if cut():
        memory.reset()
    followed = memory.follow(photo, jump, share, least_fresh)
    if followed is not None and alone:
        memory.move(followed)
    return followed
