"""The `file` sink: results, or frame beside result, into an MP4."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Result
from driftcam.daemon.sinks.encoders import best_encoder, software_encoder
from driftcam.daemon.sinks.mp4 import Mp4Writer, cut_to_whole_fragments
from driftcam.daemon.sound import SoundFeed, SoundOf, silent
from driftcam.engines.api import ParameterError
from driftcam.engines.api.fitting import fit_image

DEPTH = 2  # results that may wait for the encoder


class FileSink:
    """Encodes in a thread of its own. The picture's size is that of the first result; later ones are fitted.

    An existing file is replaced by the first result, not before: a run that cannot start destroys nothing.
    `compare` puts the frame beside the result; `hardware` spares the processor where the machine can encode without
    it; `sound` gives the source's.
    """

    def __init__(
        self,
        path: str,
        fps: float,
        *,
        compare: bool = False,
        hardware: bool = False,
        sound: SoundOf = silent,
    ) -> None:
        self.name = f"file:{path}"
        self._path, self._fps, self._compare, self._hardware = path, fps, compare, hardware
        self._created = not os.path.lexists(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            advice = f"there is no folder {str(Path(path).parent)!r}"
            raise ParameterError("sink", self.name, advice) from None
        except OSError as error:
            raise ParameterError("sink", self.name, f"it cannot be written ({error.strerror})") from None
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._sound = SoundFeed(sound)
        self._writer: Mp4Writer | None = None
        self._size = (0, 0)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="driftcam-file")
        self._waiting = 0
        self._free = asyncio.Event()
        self._failure: OSError | None = None

    async def room(self) -> None:
        while self._failure is None and self._waiting >= DEPTH:
            self._free.clear()
            await self._free.wait()
        self._check()

    def offer(self, result: Result) -> bool:
        self._check()
        if self._waiting >= DEPTH:
            return False
        self._waiting += 1
        loop = asyncio.get_running_loop()
        self._thread.submit(self._encode, result).add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._encoded, done)
        )
        return True

    async def close(self) -> None:
        try:
            await asyncio.to_thread(self._finish)
        except OSError as error:
            self._failure = self._failure or error
        self._check()

    def _encoded(self, done: Future[None]) -> None:
        self._waiting -= 1
        error = done.exception()
        if isinstance(error, OSError):
            self._failure = self._failure or error
        elif error is not None:
            self._failure = OSError(f"{type(error).__name__}: {error}")
        self._free.set()

    def _check(self) -> None:
        if self._failure is not None:
            reason = self._failure.strerror or str(self._failure)
            raise RunError(f"{self.name}: writing failed ({reason}); what was written before plays")

    def _encode(self, result: Result) -> None:
        """In the thread."""
        image = result.image
        if self._compare:
            height, width = image.shape[:2]
            image = np.hstack([fit_image(result.source.image, width, height), image])
        if self._writer is None:
            height, width = image.shape[:2]
            self._size = width, height
            self._empty()
            encoder = best_encoder(width, height) if self._hardware else software_encoder()
            feed = self._sound if self._sound.present else None
            self._writer = Mp4Writer(self._file, width, height, self._fps, encoder=encoder, sound=feed)
        self._writer.add(fit_image(image, *self._size), result.source.pts)

    def _empty(self) -> None:
        try:
            self._file.truncate(0)
        except OSError:
            if os.path.isfile(self._path):  # a device has nothing to empty
                raise

    def _finish(self) -> None:
        """After the last picture was encoded; the thread ends."""
        self._thread.shutdown(wait=True)
        self._sound.close()
        try:
            if self._writer is not None:
                self._writer.close()
            elif self._created:
                os.unlink(self._path)
        except OSError:
            cut_to_whole_fragments(self._file)
            raise
        finally:
            self._file.close()
