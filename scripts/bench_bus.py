"""What the frame bus costs: round trips of a frame, and how late the event loop is (`python -m scripts.bench_bus`).

A client in a process of its own sends a frame, waits for its result and sends the next. `client ↔ daemon` answers in
the daemon at once: the bus alone, both ways, with all its copies and changes of format. `client ↔ daemon ↔ engine`
goes on to an engine process that gives the frame back as it is. `loop lag` is by how much a timer of the event loop is
late while several clients do so as fast as they can; the idle row says what the machine itself is good for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from driftcam.daemon.bus.server import BusServer
from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.session.control import Control
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.ingest import Ingest
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.api.planes import NO_PLANES, PICTURE_FORMATS, PixelFormat, Planes

ROOT = Path(__file__).parents[1]
WARM_UP = 20


class Echo:
    """An engine that gives every frame back."""

    planes: ClassVar[dict[str, Any]] = {}

    def __init__(self, parameters: Parameters, model: object = None) -> None:
        self._count = 0

    def process(self, frame: np.ndarray, pts: int, planes: Planes = NO_PLANES) -> list[Any]:
        self._count += 1
        return [SimpleNamespace(image=frame, pts=pts, index=self._count, skipped=False, planes=NO_PLANES)]

    def update(self, parameters: Parameters) -> None: ...

    def report(self) -> dict[str, Any]:
        return {"backend": "echo"}


class Loopback:
    """A session whose results are its frames, without an engine. It is its own `Sessions` and its own stream, too."""

    live, dropped = True, 0

    def __init__(self, parameters: Parameters) -> None:
        self.name, self.closed = "loop", False
        self.control = Control(parameters, None)  # type: ignore[arg-type]
        self.ingest = Ingest(self.name, self, lambda: parameters)  # type: ignore[arg-type]
        self._sinks: list[Any] = []

    def get(self, name: str) -> Loopback:
        return self

    def add_sink(self, sink: Any) -> None:
        self._sinks.append(sink)

    def remove_sink(self, sink: Any) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)

    def statistics(self) -> dict[str, Any]:
        return {"fps": 0.0, "latency_ms": 0.0, "engine": "ready", "reason": ""}

    def offer(self, picture: Picture) -> bool:
        for sink in self._sinks:
            sink.offer(Result(picture.image, picture, 1, False, 0.0, picture.captured))
        return True


def client(path: Path, session: str, side: int, pixel_format: PixelFormat, frames: int) -> None:
    """In a process of its own: prints the round trips in ms."""
    channels = 4 if pixel_format is PixelFormat.BGRA8 else 3
    image = np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8)
    times: list[float] = []
    with BusClient("filter", session=session, path=path, pixel_format=pixel_format, timeout=60) as bus:
        while len(times) < WARM_UP + frames:
            start = time.perf_counter()
            bus.send(image)
            with contextlib.suppress(TimeoutError):  # while the engine starts
                bus.receive(timeout=0.5)
                times.append((time.perf_counter() - start) * 1000)
    print(json.dumps(times[WARM_UP:]))


async def run_clients(path: Path, sessions: list[str], side: int, pixel_format: PixelFormat, frames: int) -> np.ndarray:
    arguments = [sys.executable, "-m", "scripts.bench_bus", "--client", str(path)]
    arguments += ["--size", str(side), "--format", pixel_format.name, "--frames", str(frames), "--session"]
    pipe = asyncio.subprocess.PIPE
    processes = [await asyncio.create_subprocess_exec(*arguments, name, stdout=pipe) for name in sessions]
    said = await asyncio.gather(*(process.communicate() for process in processes))
    return np.concatenate([json.loads(out) for out, _ in said])


async def lag_during(work: Coroutine[Any, Any, Any]) -> list[float]:
    """By how many ms a timer is late while `work` goes on."""
    late: list[float] = []
    working = asyncio.create_task(work)
    while not working.done():
        start = time.perf_counter()
        await asyncio.sleep(0.002)
        late.append((time.perf_counter() - start - 0.002) * 1000)
    await working
    return late


def percentiles(values: Any) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "p99": round(float(p99), 3)}


async def measure(side: int, frames: int, pixel_format: PixelFormat, streams: int) -> dict[str, dict[str, float]]:
    parameters = Parameters(width=side, height=side)
    with tempfile.TemporaryDirectory() as folder:
        loopback: Any = Loopback(parameters)
        alone = BusServer(loopback)
        path = alone.start(Path(folder) / "alone")
        bus_only = await run_clients(path, ["loop"], side, pixel_format, frames)
        await alone.close()
        await loopback.ingest.close()
        core = Core(worker_command("scripts.bench_bus:Echo"), notify=lambda line: print(line, file=sys.stderr))
        server = BusServer(core.sessions, defaults=lambda: parameters)
        path = server.start(Path(folder) / "whole")
        whole = await run_clients(path, ["one"], side, pixel_format, frames)
        idle = await lag_during(asyncio.sleep(3))
        late = await lag_during(run_clients(path, [f"s{n}" for n in range(streams)], side, pixel_format, frames))
        await server.close()
        await core.close()
    return {
        "client ↔ daemon": percentiles(bus_only),
        "client ↔ daemon ↔ engine": percentiles(whole),
        "loop lag, idle": percentiles(idle),
        f"loop lag, {streams} clients": percentiles(late),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="what the frame bus costs")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--streams", type=int, default=3)
    parser.add_argument("--format", choices=[kind.name for kind in PICTURE_FORMATS], default="BGRA8")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--client", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--session", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pixel_format = PixelFormat[options.format]
    if options.client:
        client(options.client, options.session, options.size, pixel_format, options.frames)
        return
    os.environ["PYTHONPATH"] = str(ROOT)
    rows = asyncio.run(measure(options.size, options.frames, pixel_format, options.streams))
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{options.format} {options.size}×{options.size}, ms{'':>12}p50     p95     p99")
    for name, row in rows.items():
        print(f"{name:<28}{row['p50']:>7.2f} {row['p95']:>7.2f} {row['p99']:>7.2f}")


if __name__ == "__main__":
    main()
