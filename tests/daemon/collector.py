"""A sink for tests."""

from __future__ import annotations

from driftcam.daemon.frames import Result


class Collector:
    """A sink that keeps everything."""

    name = "collector"

    def __init__(self) -> None:
        self.results: list[Result] = []

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        self.results.append(result)
        return True

    async def close(self) -> None:
        return
