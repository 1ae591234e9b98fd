"""What a running daemon costs: processor time while idle, and how late its event loop is while it works.

python -m scripts.bench_daemon [--seconds 20] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from driftcam.daemon.config.file import load
from driftcam.daemon.serve import Service
from driftcam.daemon.service.logs import Logs
from driftcam.daemon.service.systemd import Systemd
from scripts.home import home_of_its_own

TICK = 0.002
VIEWER = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as answer:
    while answer.read(65536):
        pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each measurement")
    parser.add_argument("--size", default="384", help="of the model's picture under load")
    parser.add_argument("--engine", default="", metavar="MODULE:CLASS", help="another engine than the embedded one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with home_of_its_own():
        results = asyncio.run(_measure(options))
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'':<22}{'daemon %':>10}{'engine %':>10}{'lag p50 ms':>12}{'p99 ms':>9}{'most ms':>9}{'fps':>7}")
    for name, row in results.items():
        lag = row["lag_ms"]
        numbers = f"{row['daemon_cpu']:>10.2f}{row['engine_cpu']:>10.2f}{lag['p50']:>12.2f}{lag['p99']:>9.2f}"
        print(f"{name:<22}{numbers}{lag['most']:>9.2f}{row['fps']:>7.1f}")


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    server = {"listen": "127.0.0.1:0", "requests_per_second": 1000}
    quiet = {"server": server, "engine": {"implementation": options.engine}, "log": {"level": "error"}}
    busy = quiet | {"live": {"source": "test", "size": options.size}}
    return {
        "an empty event loop": await _of_nothing(options.seconds),
        "idle, no source": await _of_service(quiet, options.seconds, viewers=()),
        "test source": await _of_service(busy, options.seconds, viewers=()),
        "… two MJPEG viewers": await _of_service(busy, options.seconds, viewers=("result.mjpeg", "source.mjpeg")),
    }


async def _of_service(flags: dict[str, dict[str, Any]], seconds: float, viewers: tuple[str, ...]) -> dict[str, Any]:
    config = load(Path("none"), {}, flags)
    service = Service(config, Logs("error"), Systemd({}))
    try:
        await service.open()
        session = service.core.sessions.get("live")
        assert session is not None
        await session.opened()
        wanted = 10 if config.live.source else 0
        while session.delivered < wanted:
            await asyncio.sleep(0.1)
        with _looking(service.address, viewers):
            await asyncio.sleep(2.0)
            return await _observe(service, session, seconds)
    finally:
        await service.close()


async def _of_nothing(seconds: float) -> dict[str, Any]:
    """What the machine itself does to a timer, for comparison."""
    lags: list[float] = []
    probing = asyncio.create_task(_probe(lags))
    await asyncio.sleep(seconds)
    probing.cancel()
    return {"daemon_cpu": 0.0, "engine_cpu": 0.0, "lag_ms": _summary(lags), "fps": 0.0}


def _summary(lags: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(lags, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "most": round(max(lags), 3)}


async def _observe(service: Service, session: Any, seconds: float) -> dict[str, Any]:
    pid = service.core.supervisor.pid
    lags: list[float] = []
    probing = asyncio.create_task(_probe(lags)) if session.delivered else None
    start, delivered = time.monotonic(), session.delivered
    cpu, engine = time.process_time(), _cpu_of(pid)
    await asyncio.sleep(seconds)
    wall = time.monotonic() - start
    shares = (time.process_time() - cpu) / wall * 100, (_cpu_of(pid) - engine) / wall * 100
    fps = (session.delivered - delivered) / wall
    if probing is None:  # the probe itself costs more than an idle daemon, so it comes after
        probing = asyncio.create_task(_probe(lags))
        await asyncio.sleep(min(seconds, 5.0))
    probing.cancel()
    cpu_shares = {"daemon_cpu": round(shares[0], 2), "engine_cpu": round(shares[1], 2)}
    return {**cpu_shares, "lag_ms": _summary(lags), "fps": round(fps, 1)}


async def _probe(lags: list[float]) -> None:
    """How late a timer of `TICK` seconds is, in ms."""
    while True:
        due = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        lags.append((time.monotonic() - due) * 1000)


def _cpu_of(pid: int | None) -> float:
    """Processor seconds of a process so far."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _looking(address: str, paths: tuple[str, ...]) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", VIEWER, address + path]) for path in paths]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
