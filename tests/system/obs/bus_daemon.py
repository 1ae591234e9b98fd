"""The daemon's bus with the embedded model, as a process of its own: `python -m tests.system.obs.bus_daemon FOLDER`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from daemon.bus_server import BusServer
from daemon.core import Core
from daemon.engine_process import worker_command
from daemon.presets import Presets
from engines.api import Parameters


async def serve(folder: Path) -> None:
    """Until SIGTERM. Says `ready` once it listens."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    core = Core(worker_command(), notify=lambda line: print(line, flush=True))
    # So that there is something to watch and something to show in an output: one session from the start.
    core.sessions.open("live", Parameters(steps=1))
    server = BusServer(
        core.sessions,
        presets=Presets(folder / "presets"),
        notice=lambda: core.notices[-1] if core.notices else "",
        page=lambda: "http://127.0.0.1:8900/",
    )
    server.start()
    print("ready", flush=True)
    await stop.wait()
    await server.close()
    with contextlib.suppress(Exception):
        await core.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
