"""The newest picture of a session in any style, small: what a click would make of it."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from aiohttp import web

from driftcam.daemon import background
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.http.context import Context
from driftcam.daemon.http.preview import encode_jpeg
from driftcam.daemon.http.schemas import ref
from driftcam.daemon.session.session import Session
from driftcam.engines.api import ParameterError
from driftcam.engines.api.sizes import model_size
from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.webrtc.operation import SESSION, Content, Operation, Refused

NAME = "thumbnails"  # of the session that paints them
AREA = 192 * 144  # at most: a tile of the page is 96 wide, on a display with two pixels to one; more costs the stream
TIMEOUT = 10.0  # seconds for one; the first waits for networks of its size
IDLE_TIMEOUT = 20.0  # seconds without a request until the session is closed


class Thumbnails:
    """Paints one at a time in a session of its own, which lives while somebody looks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._painting = asyncio.Lock()
        self._last_asked = 0.0
        self._closing: asyncio.Task[None] | None = None

    async def jpeg(self, session: Session, style: str) -> bytes:
        """Raises `Refused`, `ParameterError` where there is no room for another session, `TimeoutError`."""
        result = await asyncio.wait_for(self._context.preview(session).after(0), 2.0)
        if result is None or result.sequence < 0:
            raise Refused(409, "thumbnail: there is no picture yet; start a source first")
        async with self._painting, asyncio.timeout(TIMEOUT):
            painter = await self._painter(session)
            look = session.control.parameters
            changes = {"styles": [[style, 1.0]], "strength": look.strength, "freedom": look.freedom}
            await painter.control.change(changes)
            return await asyncio.to_thread(encode_jpeg, await _painted(painter, result.source.image))

    async def _painter(self, session: Session) -> Session:
        self._last_asked = time.monotonic()
        painter = self._context.core.sessions.get(NAME)
        look = session.control.parameters
        width, height = model_size(look.width, look.height, min(AREA, look.width * look.height))
        if painter is None:
            small = look.replace(
                width=width, height=height, steps=1, noise="fixed", memory=0.0, travel=0.0, style_vector=None
            )
            painter = self._context.core.sessions.open(NAME, small, own_size=True)
            self._closing = background.start(self._close_when_idle(), "closing the thumbnails' session")
        await painter.opened()
        return painter

    async def _close_when_idle(self) -> None:
        while (left := self._last_asked + IDLE_TIMEOUT - time.monotonic()) > 0:
            await asyncio.sleep(left)
        async with self._painting:
            await self._context.core.sessions.close(NAME)


async def _painted(painter: Session, image: np.ndarray) -> np.ndarray:
    """`image` as `painter` makes it, (h, w, 3) uint8."""
    captured = time.monotonic_ns()
    done: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()

    def take(result: Result) -> None:
        if result.source.given_pts == captured and not done.done():
            done.set_result(result.image)

    end = painter.listen(take)
    try:
        with painter.ingest.claim(NAME) as lease:
            lease.offer(Picture(image, captured, captured))
            return await done
    finally:
        end()


def operations(context: Context) -> list[Operation]:
    thumbnails = Thumbnails(context)

    async def thumbnail(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in STYLE_NAMES:
            raise Refused(404, "there is no such style")
        try:
            data = await thumbnails.jpeg(context.session(request), name)
        except ParameterError as error:
            raise Refused(503, str(error), retry_after=30) from None
        except TimeoutError:
            raise Refused(503, "thumbnail: the engine has no time for it", retry_after=5) from None
        return web.Response(body=data, content_type="image/jpeg")

    picture = Content("JPEG", {"type": "string", "contentMediaType": "image/jpeg"}, "image/jpeg")
    busy = Content("there is no room for it now", ref("Error"))
    answers = {200: picture, 409: busy, 503: busy}
    about = "the newest picture in a style, small"
    return [Operation("GET", "/api/styles/{name}/thumbnail", thumbnail, about, answers, query={"session": SESSION})]
