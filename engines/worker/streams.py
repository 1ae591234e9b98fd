"""One stream in the engine process: its engine, its shared memory, its free result slots."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from driftcam.engines.api.bus import Message, MessageType, SlotLedger, SlotPool
from driftcam.engines.api.planes import Planes
from driftcam.engines.api.shift import NO_SHIFT


class EngineStream:
    """Made from the OPEN message and its two descriptors, which it closes.

    `live`: would rather lose a result than wait for a reader that is late. A stream that is not live may wait for
    its reader, and everybody with it; the daemon opens such a stream only alone.
    """

    def __init__(self, opening: Message, fds: list[int], send: Callable[[Message], None]) -> None:
        slots, slot_bytes = int(opening.body["slots"]), int(opening.body["slot_bytes"])
        try:
            self._input, self._output = (SlotPool(fd, slots, slot_bytes) for fd in fds)
        finally:
            for fd in fds:
                os.close(fd)
        self.number, self.live = opening.stream, bool(opening.body["live"])
        self.engine: Any = None
        self._send = send
        self._free = threading.Condition()
        self._results = SlotLedger(slots)
        self._sent = 0

    def job(self, message: Message) -> tuple[Any, np.ndarray, int, Planes]:
        """For `Host.process`: the engine, copies of a frame's picture and planes (it may keep them), and their pts."""
        planes = {name: view.copy() for name, view in self._input.planes(message).items()}
        if hasattr(self.engine, "shift"):
            self.engine.shift(message.body.get("shift", NO_SHIFT))
        return self.engine, self.copy_of(message), message.pts, planes

    def copy_of(self, message: Message) -> np.ndarray:
        """The picture in an input slot."""
        return self._input.read(message)

    def publish(self, results: list[Any], process_ms: float) -> None:
        """Send what the engine has finished."""
        for result in results:
            slot = self._result_slot()
            if slot is None:
                continue
            self._sent += 1
            stats = {"index": result.index, "skipped": bool(result.skipped), "process_ms": round(process_ms, 3)}
            message = Message(MessageType.RESULT, sequence=self._sent, pts=result.pts, stream=self.number, body=stats)
            self._send(self._output.write(slot, result.image, message, result.planes))

    def give_back(self, slot: int) -> None:
        """Called by the reader: the daemon has taken a result."""
        with self._free:
            self._results.give_back(slot)
            self._free.notify()

    def close(self) -> None:
        """Called by the engine's thread, behind the stream's last message."""
        self._input.close()
        self._output.close()

    def _result_slot(self) -> int | None:
        with self._free:
            if self.live and self._results.out == self._output.count:
                return None
            self._free.wait_for(lambda: self._results.out < self._output.count)
            return self._results.take()
