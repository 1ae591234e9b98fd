"""Pictures in and out of a peer; the newest wins on both ways, pixels are converted in threads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import av
import numpy as np
from aiortc.mediastreams import VIDEO_TIME_BASE, MediaStreamError, MediaStreamTrack

from driftcam.webrtc.latest import Latest
from driftcam.webrtc.measure import Rate, Recent
from driftcam.webrtc.shown import Shown

REPEAT_AFTER = 0.5  # seconds without a result until the last one is sent again, for who has just come
TICKS = 90_000


class VideoIn:
    """Offers a remote track's frames to a stream: reader → newest frame → conversion in a thread → `offer`."""

    def __init__(self, track: MediaStreamTrack, offer: Callable[[np.ndarray, int], bool]) -> None:
        self._track, self._offer = track, offer
        self._newest: Latest[tuple[av.VideoFrame, int]] = Latest()
        self.rate = Rate()
        self.size = (0, 0)
        self.last_frame = time.monotonic()

    async def run(self) -> None:
        """Until the track ends. Raises what a conversion raises."""
        async with asyncio.TaskGroup() as group:  # none of the two goes on without the other
            converting = group.create_task(self._convert())
            with contextlib.suppress(MediaStreamError):
                while True:  # never stop reading: the track's own queue has no bound
                    frame = await self._track.recv()
                    assert isinstance(frame, av.VideoFrame)
                    self.last_frame = time.monotonic()
                    self.rate.add(self.last_frame)
                    self.size = frame.width, frame.height
                    self._newest.put((frame, time.monotonic_ns()))
            converting.cancel()

    async def _convert(self) -> None:
        shown = Shown(guess_hd=False)  # browsers say what is not BT.601
        while True:
            frame, captured = await self._newest.take()
            image = await asyncio.to_thread(shown, frame)
            self._offer(image, captured)

    @property
    def dropped(self) -> int:
        return self._newest.replaced


class VideoOut(MediaStreamTrack):
    """The newest result, as aiortc asks for it. `show` is a stream's listener."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._newest: Latest[tuple[np.ndarray, int]] = Latest()
        self._last: tuple[np.ndarray, int] | None = None
        self._origin: int | None = None
        self._pts = -1
        self.latency = Recent()
        self.rate = Rate()

    def show(self, image: np.ndarray, captured: int) -> None:
        self._newest.put((image, captured))

    async def recv(self) -> av.VideoFrame:
        """A frame whose time stamps follow the times of capture."""
        if self.readyState != "live":
            raise MediaStreamError
        fresh = True
        try:
            async with asyncio.timeout(REPEAT_AFTER if self._last is not None else None):
                self._last = image, captured = await self._newest.take()
        except TimeoutError:
            assert self._last is not None
            fresh = False
            image, captured = self._last
            captured += time.monotonic_ns() - self._sent
        frame = await asyncio.to_thread(_yuv, image)
        self._sent = time.monotonic_ns()
        frame.pts, frame.time_base = self._timestamp(captured), VIDEO_TIME_BASE
        if fresh:
            self.latency.add((self._sent - captured) / 1e6)
            self.rate.add(time.monotonic())
        return frame

    _sent = 0

    def _timestamp(self, captured: int) -> int:
        """Strictly increasing, in 1/90000 s."""
        self._origin = captured if self._origin is None else self._origin
        self._pts = max(self._pts + 1, (captured - self._origin) * TICKS // 1_000_000_000)
        return self._pts


def _yuv(image: np.ndarray) -> av.VideoFrame:
    """In a thread. Sides become even: the colours have half the resolution."""
    height, width = image.shape[:2]
    image = np.ascontiguousarray(image[: height - height % 2, : width - width % 2])
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
