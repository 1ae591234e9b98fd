"""The `page` sink: the newest result for whoever looks."""

from __future__ import annotations

from daemon.frames import Result
from daemon.page.preview import Preview
from daemon.page.server import PageServer


class PageSink:
    """Shows results on a page that it owns: closing the sink ends the server."""

    def __init__(self, preview: Preview, server: PageServer) -> None:
        self.name = "page"
        self._preview, self._server = preview, server

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        self._preview.show(result)
        return True

    async def close(self) -> None:
        await self._server.close()
