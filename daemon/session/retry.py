"""The live session's source, sinks and style picture: whatever fails is tried again, nothing else stops for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from driftcam.daemon.config.specs import Spec
from driftcam.daemon.errors import RunError
from driftcam.daemon.loose import loosely
from driftcam.daemon.pictures import read_picture
from driftcam.daemon.session.feed import feed, open_loosely
from driftcam.daemon.session.session import Session
from driftcam.daemon.sinks import Sink
from driftcam.daemon.sinks.opening import open_sink
from driftcam.daemon.smooth.pace import rate_of
from driftcam.daemon.sources import Source
from driftcam.engines.api import ParameterError
from driftcam.engines.api.planes import STYLE_PICTURE
from driftcam.engines.api.sizes import model_size

log = logging.getLogger("driftcam")
RETRY_FIRST, RETRY_MOST = 1.0, 15.0
SOURCE_RETRY_MOST = 1.0  # a source that is there again is seen again soon
LOOK_EVERY = 1.0
USUAL_FPS = 30.0


class Retrying(ABC):
    """Something that is opened, used until it fails, and opened again. `close` ends that.

    Attributes:
        most: the longest wait between two tries, in seconds.
    """

    most = RETRY_MOST

    def __init__(self, name: str, notify: Callable[[str], None]) -> None:
        self.name, self._notify = name, notify
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._retry())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _retry(self) -> None:
        told, delay = "", RETRY_FIRST
        while True:
            try:
                await self._use()
                told, delay = "", RETRY_FIRST
            except (ParameterError, RunError) as error:
                if str(error) != told:  # the same every few seconds is no news
                    told = str(error)
                    self._notify(f"{told}; trying again until it works")
            except Exception as error:
                if repr(error) != told:
                    told = repr(error)
                    log.exception("%s failed", self.name)
                    self._notify(f"{self.name}: a mistake of Driftcam ({told}); its log says more; trying again")
            await asyncio.sleep(delay)
            delay = min(2 * delay, self.most)

    @abstractmethod
    async def _use(self) -> None:
        """Open it and use it until it ends. Raises `ParameterError` or `RunError`."""

    def _notify_from_thread(self, line: str) -> None:
        self._loop.call_soon_threadsafe(self._notify, line)


class RetryingSource(Retrying):
    """Gives a session its frames. `size` is the model's; None follows the source's shape."""

    most = SOURCE_RETRY_MOST

    def __init__(
        self, spec: Spec, session: Session, size: tuple[int, int] | None, notify: Callable[[str], None]
    ) -> None:
        self._spec, self._session, self._size = spec, session, size
        self._lease = session.ingest.claim(spec.shown, yields=True)
        super().__init__(spec.shown, notify)

    async def close(self) -> None:
        await super().close()
        self._lease.end()

    async def _use(self) -> None:
        stop = threading.Event()
        source = await open_loosely(self._spec, self._notify_from_thread, stop)
        try:
            await self._adopt(source)
        except BaseException:
            source.close()
            raise
        await feed(source, self._session, self._lease, stop, last=False)

    async def _adopt(self, source: Source) -> None:
        """The session takes its shape and its sound."""
        session = self._session
        have = session.control.parameters
        width, height = self._size or model_size(source.info.width, source.info.height, have.width * have.height)
        if (have.width, have.height) != (width, height):
            await session.control.change({"width": width, "height": height})
        self._lease.sound = source.sound


class RetryingSink(Retrying):
    """Takes a session's results."""

    def __init__(self, spec: Spec, session: Session, notify: Callable[[str], None]) -> None:
        self._spec, self._session = spec, session
        super().__init__(spec.shown, notify)

    async def _use(self) -> None:
        session = self._session
        sink: Sink = await asyncio.to_thread(
            open_sink,
            self._spec,
            USUAL_FPS,
            rate_of(session.control.parameters.smooth),
            sound=lambda: session.sound,
            why=self._why,
            notify=self._notify_from_thread,
        )
        session.add_sink(sink)
        try:
            while sink in session.sinks:
                await asyncio.sleep(LOOK_EVERY)
        finally:
            session.remove_sink(sink)
            with contextlib.suppress(RunError):  # the session has told it
                await sink.close()

    def _why(self) -> str:
        """There is no picture. From any thread."""
        if trouble := self._session.trouble:
            return trouble
        return "waiting for the first picture" if self._session.source else "there is no source yet"


class RetryingStyle(Retrying):
    """Uses a picture's style, once there is an engine that can look at it."""

    def __init__(self, path: Path, session: Session, notify: Callable[[str], None]) -> None:
        self._path, self._session = path, session
        super().__init__(str(path), notify)

    async def _use(self) -> None:
        image = await loosely(read_picture, self._path)
        await self._session.opened()
        await self._session.control.set_plane(STYLE_PICTURE, image)
        await asyncio.Event().wait()  # until the configuration says something else
