"""The page's HTTP server: static files, MJPEG pictures, state over a WebSocket, changes over PATCH."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import WSMsgType, web

from daemon.control import Control
from daemon.page.guard import HEADERS, refusal
from daemon.page.preview import Preview, Side
from daemon.pictures import MAX_BYTES, decode_picture
from engines.api import ParameterError, Parameters
from engines.api.styles import STYLES
from webrtc.page import FOLDER

STYLE_PICTURES = FOLDER / "styles"
FILES = {"/": "index.html", "/app.js": "app.js", "/style.css": "style.css"}
STATE_EVERY = 0.5
VIEWERS = 16  # open streams and sockets; more are refused
WRITE_PATIENCE = 10.0
BOUNDARY = "driftcam-frame"


def parameters_json(parameters: Parameters) -> dict[str, Any]:
    """For people: without the 100 numbers of a style picture."""
    values = parameters.to_dict()
    values["style_picture"] = values.pop("style_vector") is not None
    return values


class PageServer:
    """Serves on one address from `start` to `close`.

    `statistics` is asked for the numbers of the running session: fps, latency, state of the engine, notices.
    """

    def __init__(self, control: Control, preview: Preview, statistics: Callable[[], Mapping[str, Any]]) -> None:
        self._control, self._preview, self._statistics = control, preview, statistics
        self._viewers = 0
        self._runner: web.AppRunner | None = None
        self.app = web.Application(middlewares=[guarded], client_max_size=MAX_BYTES)
        self.app.on_response_prepare.append(_add_headers)
        routes = self.app.router
        for path in FILES:
            routes.add_get(path, self._file)
        routes.add_get("/styles/{name}.jpg", self._style_picture)
        for side in Side:
            routes.add_get(f"/{side}.mjpeg", self._stream)
        routes.add_get("/api/state", self._get_state)
        routes.add_get("/api/styles", self._get_styles)
        routes.add_patch("/api/parameters", self._change)
        routes.add_put("/api/style-picture", self._use_picture)
        routes.add_get("/api/events", self._events)

    async def start(self, host: str, port: int) -> str:
        """Listen; returns the page's address. Raises `ParameterError` where the port cannot be had."""
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise ParameterError("listen", f"{host}:{port}", f"choose another address or port ({reason})") from None
        bound = self._runner.addresses[0][1]
        return f"http://[{host}]:{bound}/" if ":" in host else f"http://{host}:{bound}/"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        parameters = parameters_json(self._control.parameters)
        return {"version": self._control.version, "parameters": parameters, **self._statistics()}

    async def _file(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(FOLDER / FILES[request.path])

    async def _style_picture(self, request: web.Request) -> web.FileResponse:
        name = request.match_info["name"]
        if not _has_picture(name):
            raise web.HTTPNotFound
        return web.FileResponse(STYLE_PICTURES / f"{name}.jpg")

    async def _get_state(self, request: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _get_styles(self, request: web.Request) -> web.Response:
        styles = [{"name": name, "about": about, "picture": _has_picture(name)} for name, about in STYLES]
        return web.json_response(styles)

    async def _change(self, request: web.Request) -> web.Response:
        try:
            changes = json.loads(await request.text())
        except (ValueError, RecursionError):
            return _error(ParameterError("changes", "…", "send JSON"))
        if isinstance(changes, dict) and changes.get("style_vector") is not None:
            return _error(ParameterError("style_vector", "…", "send a picture to /api/style-picture"))
        return await self._answer(self._control.change(changes))

    async def _use_picture(self, request: web.Request) -> web.Response:
        data = await request.read()
        try:
            image = await asyncio.to_thread(decode_picture, data, "picture")
        except ParameterError as error:
            return _error(error)
        return await self._answer(self._control.use_picture(image))

    async def _answer(self, changing: Any) -> web.Response:
        try:
            await changing
        except ParameterError as error:
            return _error(error)
        return web.json_response(self.state())

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        side = Side(request.path.strip("/").removesuffix(".mjpeg"))
        response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
        async with self._viewer():
            await response.prepare(request)
            sequence = 0
            with contextlib.suppress(ConnectionError, TimeoutError):
                await response.write(f"--{BOUNDARY}\r\n".encode())
                while True:
                    result = await self._preview.after(sequence)
                    sequence = result.sequence
                    data = await self._preview.jpeg(result, side)
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    # The boundary behind the picture lets the browser show it now, not when the next one comes.
                    async with asyncio.timeout(WRITE_PATIENCE):
                        await response.write(head + data + f"\r\n--{BOUNDARY}\r\n".encode())
        return response

    async def _events(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=1024)
        async with self._viewer():
            await socket.prepare(request)
            sending = asyncio.create_task(self._send_states(socket))
            try:
                async for message in socket:  # nothing is expected; reading notices the end
                    if message.type is WSMsgType.ERROR:
                        break
            finally:
                sending.cancel()
        return socket

    async def _send_states(self, socket: web.WebSocketResponse) -> None:
        """At each change and every half second."""
        news = asyncio.Event()
        end_listening = self._control.listen(news.set)
        try:
            while not socket.closed:
                await socket.send_json(self.state())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STATE_EVERY):
                        await news.wait()
                news.clear()
        except ConnectionError:
            pass
        finally:
            end_listening()

    @contextlib.asynccontextmanager
    async def _viewer(self) -> AsyncIterator[None]:
        if self._viewers >= VIEWERS:
            raise web.HTTPServiceUnavailable(text="too many pages are open")
        self._viewers += 1
        try:
            yield
        finally:
            self._viewers -= 1


@web.middleware
async def guarded(request: web.Request, handler: Callable) -> web.StreamResponse:
    """Host and Origin are checked before anything else."""
    reason = refusal(request.headers.get("Host"), request.headers.get("Origin"))
    if reason is not None:
        return web.Response(status=403, text=reason)
    return await handler(request)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Before any answer is sent."""
    response.headers.update(HEADERS)


def _has_picture(name: str) -> bool:
    return any(name == known for known, _ in STYLES) and (STYLE_PICTURES / f"{name}.jpg").is_file()


def _error(error: ParameterError) -> web.Response:
    return web.json_response({"field": error.field, "message": str(error)}, status=422)
