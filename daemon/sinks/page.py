"""The `page` sink of `driftcam run`: keeps the run going for whoever looks at the page."""

from __future__ import annotations

from functools import partial

from driftcam.daemon.browser import PeerStreams
from driftcam.daemon.config.folders import recordings_folder, state_folder
from driftcam.daemon.frames import Result
from driftcam.daemon.http.context import Context
from driftcam.daemon.http.server import HttpServer
from driftcam.daemon.service.logs import Recent
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.presets import Presets
from driftcam.daemon.session.recordings import Recordings
from driftcam.webrtc.http import add_routes
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.settings import Settings


class PageSink:
    """The server takes what it shows by itself; closing the sink ends it, and the recordings it has started."""

    name = "page"

    def __init__(self, server: HttpServer, recordings: Recordings, peers: Peers) -> None:
        self._server, self._recordings, self._peers = server, recordings, peers

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        return True

    async def close(self) -> None:
        try:
            await self._peers.close()
            await self._recordings.close()
        finally:
            await self._server.close()


async def open_page(core: Core, listen: tuple[str, int]) -> tuple[PageSink, str]:
    """The sink and the page's address. Raises `ParameterError` where the port cannot be had."""
    recordings = Recordings(recordings_folder(), "driftcam")
    context = Context(core, Presets(state_folder() / "presets"), recordings, Recent())
    peers = Peers(PeerStreams(core.sessions), Settings())
    server = HttpServer(context, extend=[partial(add_routes, peers=peers)])
    return PageSink(server, recordings, peers), await server.start(*listen)
