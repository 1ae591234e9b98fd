"""The `page` sink of `driftcam run`: keeps the run going for whoever looks at the page."""

from __future__ import annotations

from functools import partial

from daemon.browser import PeerStreams
from daemon.core import Core
from daemon.folders import recordings_folder, state_folder
from daemon.frames import Result
from daemon.http.context import Context
from daemon.http.server import HttpServer
from daemon.logs import Recent
from daemon.presets import Presets
from daemon.recordings import Recordings
from webrtc.http import add_routes
from webrtc.peers import Peers
from webrtc.settings import Settings


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
