"""How soon the untouched picture is there, whether the way back flashes, and what is between two pictures.

python -m scripts.bench_show [--rounds 20] [--size 384] [--engine MODULE:CLASS] [--json]

A running daemon is asked over HTTP; `scripts.bench_smooth` makes the pictures between.

`bypass_ms`: from before the request until the first untouched picture was given to a sink, beside the time between two
frames of the source. `crossfade_flash`: by how much the mean luminance (BT.709, linear light, 0 to 1) of a picture on
the way back lies outside that of the untouched and the stylised pictures around it, at most, in all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from driftcam.daemon.config.file import load
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.serve import Service
from driftcam.daemon.service.logs import Logs
from driftcam.daemon.service.systemd import Systemd
from driftcam.daemon.session.ingest import Lease
from driftcam.daemon.session.session import Session
from driftcam.daemon.sources.pattern import draw
from scripts.bench_smooth import measured
from scripts.home import home_of_its_own

FPS, SETTLE = 30, 1.5  # of the source; seconds in which the way back is over and the stylised picture stands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--size", default="384", help="of the model's picture")
    parser.add_argument("--engine", default="", metavar="MODULE:CLASS", help="another engine than the embedded one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with home_of_its_own():
        results = asyncio.run(_measure(options)) | measured()
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for name, value in results.items():
        print(f"{name:<20}{value}")


class Watcher:
    """A sink that notes when each picture came; whoever looks at them does so later, beside the event loop."""

    name = "bench"

    def __init__(self) -> None:
        self.seen: list[tuple[float, Result]] = []

    async def room(self) -> None:
        return

    def offer(self, result: Result) -> bool:
        self.seen.append((time.monotonic(), result))
        return True

    def light(self) -> list[float]:
        """Of all that was seen, which are forgotten."""
        seen, self.seen = self.seen, []
        return [luminance(result.image) for _, result in seen]

    async def close(self) -> None:
        return


def untouched(result: Result) -> bool:
    return result.image is result.source.image


def luminance(image: np.ndarray) -> float:
    """Mean of an sRGB picture, 0 to 1."""
    return float(_LIGHT[image].mean((0, 1)) @ (0.2126, 0.7152, 0.0722))


_SRGB = np.arange(256) / 255
_LIGHT = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4)


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    flags = {
        "server": {"listen": "127.0.0.1:0", "requests_per_second": 1000},
        "engine": {"implementation": options.engine},
        "live": {"size": options.size},
        "log": {"level": "error"},
    }
    service = Service(load(Path("none"), {}, flags), Logs("error"), Systemd({}))
    try:
        await service.open()
        session = service.core.sessions.get("live")
        assert session is not None
        await session.opened()
        watcher = Watcher()
        session.add_sink(watcher)
        with session.ingest.claim("bench") as lease:
            feeding = asyncio.create_task(_feed(lease))
            try:
                return await _rounds(f"{service.address}api/bypass", session, watcher, options.rounds)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
    finally:
        await service.close()


async def _feed(lease: Lease) -> None:
    """A still picture: what changes its light is the way back alone."""
    image = draw(0)
    due = time.monotonic()
    while True:
        now = time.monotonic_ns()
        lease.offer(Picture(image.copy(), now, now))
        due += 1 / FPS
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _rounds(address: str, session: Session, watcher: Watcher, rounds: int) -> dict[str, Any]:
    times, flashes, pictures = [], [], []
    await _until(lambda: session.delivered >= 10)
    async with aiohttp.ClientSession() as client:
        for number in range(rounds):
            await asyncio.sleep(SETTLE + number % 7 / 7 / FPS)  # at any moment between two frames
            watcher.seen.clear()
            asked = time.monotonic()
            await client.put(address, json={"on": True})
            await _until(lambda: any(untouched(result) for _, result in watcher.seen))
            times.append((next(at for at, result in watcher.seen if untouched(result)) - asked) * 1000)
            await asyncio.sleep(0.3)
            before = (await asyncio.to_thread(watcher.light))[-1]
            await client.put(address, json={"on": False})
            await asyncio.sleep(SETTLE)
            way = await asyncio.to_thread(watcher.light)
            stylised = way[-max(1, len(way) // 3) :]  # it moves a little of itself
            low, high = min(before, *stylised), max(before, *stylised)
            flashes.append(max(0.0, *(low - light for light in way), *(light - high for light in way)))
            pictures.append(len(way))
    p50, p95 = np.percentile(times, [50, 95])
    return {
        "bypass_ms": {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "most": round(max(times), 2)},
        "frame_interval_ms": round(1000 / FPS, 1),
        "crossfade_flash": round(max(flashes), 5),
        "fps": round(float(session.rate.value(time.monotonic())), 1),
        "pictures_after_off": min(pictures),
    }


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    main()
