"""Open Sound Control 1.0: light desks, music programs and tablets move parameters, and see them move.

    /driftcam/NAME VALUE…            of the session `live`
    /driftcam/SESSION/NAME VALUE…

NAME is what `Controls.change` knows: a parameter, `prompt`, `preset`, `bypass`, `beat`. Of `styles` and `prompts` the
values are names or texts, each with its weight after it, if it has one. A fader may send whole numbers where fractions
are meant and the other way round. Back come the same addresses, and `/driftcam/error TEXT`.

OSC knows no passwords: whoever reaches the port may do all that. Therefore it is closed until somebody opens it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import AsyncIOOSCUDPServer
from pythonosc.udp_client import SimpleUDPClient

from driftcam.daemon import background
from driftcam.daemon.config.specs import is_loopback
from driftcam.daemon.controls import Controls
from driftcam.daemon.errors import RunError
from driftcam.daemon.session.sessions import DEFAULT
from driftcam.engines.api import TABLE, ParameterError

ROOT = "driftcam"
TELL_EVERY = 0.05  # seconds between two looks at what is to be told
log = logging.getLogger("driftcam.osc")


class OscServer:
    """Changes come in faster than they are applied: of each parameter the newest counts.

    Args:
        feedback: (host, port) that is told of all values and of mistakes; None tells nobody.
    """

    def __init__(self, controls: Controls, feedback: tuple[str, int] | None = None) -> None:
        self._controls = controls
        self._told_to = feedback
        self._feedback: SimpleUDPClient | None = None
        self._waiting: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._came = asyncio.Event()
        self._told: dict[str, dict[str, tuple[Any, ...]]] = {}  # by session
        self._versions: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._transport: asyncio.BaseTransport | None = None

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Returns where it listens. Raises `RunError`."""
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(self._take)
        try:
            server = AsyncIOOSCUDPServer((host, port), dispatcher, asyncio.get_running_loop())  # type: ignore[arg-type]
            self._transport, _ = await server.create_serve_endpoint()
        except OSError as error:
            raise RunError(f"osc.listen: {host}:{port} cannot be opened ({error.strerror}); choose another") from None
        if self._told_to is not None:
            try:
                self._feedback = await asyncio.to_thread(SimpleUDPClient, *self._told_to)
            except OSError as error:
                where = "{}:{}".format(*self._told_to)
                raise RunError(f"osc.feedback: {where} is not known ({error.strerror}); give an address") from None
        if not is_loopback(host):
            log.warning("OSC has no password: whoever reaches port %d of this machine may change the picture", port)
        self._tasks.append(background.keep(self._apply, "OSC"))
        if self._feedback is not None:
            self._tasks.append(background.keep(self._tell, "OSC feedback"))
        return self._transport.get_extra_info("sockname")[:2]

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, address: str, *values: Any) -> None:
        root, *path = address.strip("/").split("/")
        if root != ROOT or len(path) not in (1, 2):
            self._refuse(f"{address}: write /{ROOT}/NAME or /{ROOT}/SESSION/NAME")
            return
        session, name = path if len(path) == 2 else (DEFAULT, path[0])
        self._waiting.pop((session, name), None)  # so that the newest comes last
        self._waiting[session, name] = values
        self._came.set()

    async def _apply(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            waiting, self._waiting = self._waiting, {}
            for (session, name), values in waiting.items():
                try:
                    await self._controls.change(session, name, values)
                except ParameterError as error:
                    self._refuse(f"/{ROOT}/{session}/{name}: {error}")

    def _refuse(self, problem: str) -> None:
        log.warning("%s", problem)
        self._send(f"/{ROOT}/error", problem)

    def _send(self, address: str, values: Any) -> None:
        """What cannot be sent is lost, as UDP has it."""
        if self._feedback is not None:
            with contextlib.suppress(OSError):
                self._feedback.send_message(address, values)

    async def _tell(self) -> None:
        while True:
            there = {session.name: session for session in self._controls.sessions}
            for gone in self._told.keys() - there.keys():
                del self._told[gone]
                self._versions.pop(gone, None)
            for session in there.values():
                self._tell_value(session.name, "bypass", (int(session.bypassed),))
                if self._versions.get(session.name) != session.control.version:
                    self._versions[session.name] = session.control.version
                    self._tell_of(session.name, session.control.parameters.to_dict())
            await asyncio.sleep(TELL_EVERY)

    def _tell_of(self, session: str, parameters: dict[str, Any]) -> None:
        for name, value in parameters.items():
            if name not in TABLE or not TABLE[name].typed:
                continue
            self._tell_value(session, name, tuple(_flat(value)))

    def _tell_value(self, session: str, name: str, values: tuple[Any, ...]) -> None:
        told = self._told.setdefault(session, {})
        if told.get(name) == values:
            return
        told[name] = values
        self._send(f"/{ROOT}/{session}/{name}", values)
        if session == DEFAULT:
            self._send(f"/{ROOT}/{name}", values)


def _flat(value: Any) -> list[Any]:
    """A value, or pairs of a name and a weight, one after the other."""
    return [part for pair in value for part in pair] if isinstance(value, (list, tuple)) else [value]
