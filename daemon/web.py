"""The web server with all that it serves: page, API, media, presets and recordings; of `run` and of `serve`."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from driftcam.daemon.browser import PeerStreams
from driftcam.daemon.config.folders import state_folder
from driftcam.daemon.http.context import VIEWERS, Context
from driftcam.daemon.http.limits import ConcurrencyLimit
from driftcam.daemon.http.server import HttpServer, Security
from driftcam.daemon.service.logs import Recent
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.presets import Presets
from driftcam.daemon.session.recordings import Recordings
from driftcam.engines.api import Parameters
from driftcam.webrtc.http import operations
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.settings import Settings


async def no_metrics(viewers: int) -> bytes:
    """Where nobody counts."""
    return b""


class Web:
    """From `open` to `close`, which ends the recordings, too.

    `settings` are those of WebRTC; `unready` as in `Context`; `expose` gives all numbers and is told of the viewers.

    Attributes:
        recordings, presets: what they are called.
        context: what the API works on.
        address: of the page, from `open` on.
    """

    def __init__(
        self,
        core: Core,
        recordings: Recordings,
        recent: Recent,
        *,
        defaults: Callable[[], Parameters] = Parameters,
        settings: Settings = Settings(),  # noqa: B008 (it cannot be changed)
        unready: Callable[[], str] = lambda: "",
        expose: Callable[[int], Awaitable[bytes]] = no_metrics,
        viewers: int = VIEWERS,
    ) -> None:
        self.recordings, self.presets = recordings, Presets(state_folder() / "presets")
        self._viewers = ConcurrencyLimit(viewers)
        self.context = Context(
            *(core, self.presets, recordings, recent),
            unready=unready,
            expose=lambda: expose(self._viewers.taken),
            viewers=self._viewers,
        )
        self._peers = Peers(PeerStreams(core.sessions, defaults), settings)
        self._server: HttpServer | None = None
        self.address = ""

    async def open(self, host: str, port: int, security: Security | None = None) -> str:
        """Listen; the page's address. Raises `ParameterError` where the port cannot be had."""
        self._server = HttpServer(self.context, security, operations(self._peers))
        self.address = await self._server.start(host, port)
        return self.address

    def limit(self, requests_per_second: float, viewers: int) -> None:
        """From now on."""
        self._viewers.most = viewers
        if self._server is not None:
            self._server.rates.per_second = requests_per_second

    async def close(self) -> None:
        """Recordings are complete then. Raises `RunError` where one could not be finished, after all the rest."""
        async with contextlib.AsyncExitStack() as closing:  # the last first
            if self._server is not None:
                closing.push_async_callback(self._server.close)
            closing.push_async_callback(self.recordings.close)
            closing.push_async_callback(self._peers.close)
