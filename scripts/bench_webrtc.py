"""Glass to glass over WebRTC in a real browser: a time code drawn on a canvas goes up as a camera and is read again.

    python -m scripts.bench_webrtc [--seconds 15] [--size 384] [--json]

Three daemons answer the same browser in turn: plain aiortc that gives the track back (no adjustment of ours), our
peers with a pass-through in place of the engine, and the whole daemon with the embedded model. With a model the code
cannot be read from the picture, so it goes around the model: the result carries the strip of the frame it was made
from. What the model costs and what we add to it is the difference between the rows. At the higher rate the model is
busy when most frames come: they wait for it, on average half the time between two frames.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

CHROMIUM = "/usr/bin/chromium"
RATES = (30, 15)  # more and fewer frames a second than the embedded model does beside a browser on two cores
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-background-timer-throttling"]
STRIP = 16  # of the picture's height is the time code: 1 in so many
WARM_UP = 4.0

PAGE = Path(__file__).with_suffix(".html")


def add_page(app: web.Application) -> None:
    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    app.router.add_get("/bench", page)


class PassThrough:
    """In place of a session: what comes in goes out."""

    def __init__(self) -> None:
        self._listeners: set[Callable] = set()

    async def join(self, name: str, *, publishes: bool) -> PassThrough:
        return self

    def offer(self, image: np.ndarray, captured: int) -> bool:
        for listener in list(self._listeners):
            listener(image, captured)
        return True

    def hear(self, samples: np.ndarray, captured: int) -> None:
        return

    def listen(self, listener: Callable) -> Callable[[], None]:
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def leave(self) -> None:
        return


class WithStrip:
    """The sessions of a daemon, with the time code of the frame put over each result made from it."""

    def __init__(self, core: Any) -> None:
        from driftcam.daemon.browser import PeerStreams

        self._streams, self._sessions = PeerStreams(core.sessions), core.sessions

    async def join(self, name: str, *, publishes: bool) -> Any:
        place = await self._streams.join(name, publishes=publishes)
        plain = place.listen
        strips: dict[int, np.ndarray] = {}
        offer = place.offer

        def offered(image: np.ndarray, captured: int) -> bool:
            strips[captured] = image[: image.shape[0] // STRIP].copy()
            while len(strips) > 60:
                del strips[next(iter(strips))]
            return offer(image, captured)

        def listen(listener: Callable) -> Callable[[], None]:
            def shown(image: np.ndarray, captured: int) -> None:
                import cv2

                image = image.copy()
                if (strip := strips.get(captured)) is not None:
                    height, width = image.shape[:2]
                    image[: height // STRIP] = cv2.resize(strip, (width, height // STRIP))
                listener(image, captured)

            return plain(shown)

        place.offer, place.listen = offered, listen  # type: ignore[method-assign]
        return place


@contextlib.asynccontextmanager
async def serving(streams: Any) -> AsyncIterator[str]:
    """Our peers over `streams`; the page's address."""
    from driftcam.webrtc.http import operations
    from driftcam.webrtc.operation import route
    from driftcam.webrtc.peers import Peers
    from driftcam.webrtc.settings import Settings

    peers = Peers(streams, Settings())
    app = web.Application()
    add_page(app)
    route(app, operations(peers))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/bench"
    finally:
        await peers.close()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def with_engine(size: int, engine_ms: list[float]) -> AsyncIterator[str]:
    """The embedded model at size², 1 step."""
    from driftcam.daemon.engine.process import worker_command
    from driftcam.daemon.session.core import Core
    from scripts.bench_look import LOOK

    core = Core(worker_command(None, None), notify=lambda line: print(line, file=sys.stderr))
    try:
        session = core.sessions.open("live", LOOK.replace(steps=1, width=size, height=size))
        await session.opened()
        async with serving(WithStrip(core)) as address:
            yield address
            engine_ms.append(session.engine_ms.summary().get("p50", 0.0))
    finally:
        await core.close()


def serve_plain_aiortc() -> None:
    """A process without our adjustments: the track goes straight back. Prints its address."""
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

    connections = []

    async def offer(request: web.Request) -> web.Response:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connections.append(connection)
        connection.on("track", lambda track: connection.addTrack(track))
        await connection.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        return web.Response(text=connection.localDescription.sdp, content_type="application/sdp", status=201)

    async def run() -> None:
        app = web.Application()
        add_page(app)
        app.router.add_post("/api/peers/live", offer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}/bench", flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@contextlib.asynccontextmanager
async def plain_aiortc() -> AsyncIterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench_webrtc", "--plain"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield (await asyncio.to_thread(process.stdout.readline)).strip()
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def measured(address: str, size: int, seconds: float, rate: int) -> dict[str, Any]:
    """p50 and p95 in ms, in a fresh browser that sends `rate` frames a second."""
    from playwright.async_api import async_playwright

    with tempfile.TemporaryDirectory() as folder:
        async with async_playwright() as player:
            context = await player.chromium.launch_persistent_context(
                folder, executable_path=CHROMIUM, args=FLAGS, ignore_default_args=["--headless", "--headless=old"]
            )
            page = await context.new_page()
            await page.goto(address)
            found = await page.evaluate(f"measure('/api/peers/live', {size}, {size}, {rate}, {WARM_UP}, {seconds})")
            await context.close()
    delays = found["delays"]
    if not delays:
        return {"frames": 0, "unread": found["unread"]}
    p50, p95 = (round(float(value), 1) for value in np.percentile(delays, [50, 95]))
    fps = round(len(delays) / seconds, 1)
    return {"p50": p50, "p95": p95, "fps": fps, "unread": found["unread"], "codec": found["codec"]}


async def bench(size: int, seconds: float) -> dict[str, Any]:
    rates = {}
    for rate in RATES:
        engine_ms: list[float] = []
        async with plain_aiortc() as address:
            echo = await measured(address, size, seconds, rate)
        async with serving(PassThrough()) as address:
            through = await measured(address, size, seconds, rate)
        async with with_engine(size, engine_ms) as address:
            model = await measured(address, size, seconds, rate)
        rates[rate] = {
            "plain aiortc, echo": echo,
            "our peers, pass-through": through,
            "with the embedded model": model | {"engine_ms": engine_ms[0]},
        }
    return {"size": size, "seconds": seconds, "time": time.strftime("%Y-%m-%d %H:%M"), "ms": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        return serve_plain_aiortc()
    if not Path(CHROMIUM).exists():
        raise SystemExit(f"there is no {CHROMIUM}")
    report = asyncio.run(bench(options.size, options.seconds))
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(f"glass to glass in Chromium, {report['size']}², ms\n")
    print("| frames a second sent | | p50 | p95 | fps shown |\n|---|---|---|---|---|")
    for rate, rows in report["ms"].items():
        for name, row in rows.items():
            print(f"| {rate} | {name} | {row.get('p50', '–')} | {row.get('p95', '–')} | {row.get('fps', 0)} |")
    print()
    for rate, rows in report["ms"].items():
        echo, through, model = (row.get("p50", 0.0) for row in rows.values())
        frame = rows["with the embedded model"]["engine_ms"]
        print(
            f"At {rate}: {model - through:.1f} ms over the pass-through, {model - echo:.1f} over the echo; "
            f"a frame in the engine is {frame} ms."
        )


if __name__ == "__main__":
    main()
