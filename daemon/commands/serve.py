"""`driftcam serve`: the daemon itself."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from driftcam.daemon.config.config import Config
    from driftcam.daemon.service.logs import Logs
    from driftcam.daemon.service.systemd import Systemd

SHORT = {"source": ("live", "source"), "listen": ("server", "listen"), "sinks": ("live", "sinks")}


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Where the configuration comes from."""
    parser.add_argument("--config", type=Path, metavar="PATH", help="instead of ~/.config/driftcam/config.toml")
    what = "instead of what the file says"
    parser.add_argument("--set", action="append", default=[], dest="flags", metavar="SECTION.FIELD=VALUE", help=what)


def add(commands: argparse._SubParsersAction) -> None:
    serve = commands.add_parser("serve", help="run as a daemon, from a configuration file")
    add_configuration(serve)
    for name, field in (("source", "live.source"), ("listen", "server.listen")):
        serve.add_argument(f"--{name}", metavar="…", help=f"the same as --set {field}=…")
    serve.add_argument("--sink", action="append", dest="sinks", metavar="…", help="one of live.sinks; may be repeated")
    serve.set_defaults(main=main)


def loader(options: argparse.Namespace) -> Callable[[], Config]:
    """Reads the configuration, each time anew; that raises `ConfigError`. Raises `ParameterError` for the flags."""
    from driftcam.daemon.config.file import load, parse_flag
    from driftcam.daemon.config.folders import config_file

    flags: dict[str, dict[str, object]] = {}
    for text in options.flags:
        section, field, value = parse_flag(text)
        flags.setdefault(section, {})[field] = value
    for name, (section, field) in SHORT.items():
        if (value := getattr(options, name, None)) is not None:
            flags.setdefault(section, {})[field] = value
    path = options.config.absolute() if options.config else config_file()
    return lambda: load(path, os.environ, flags)


def main(options: argparse.Namespace) -> int:
    """Until SIGINT or SIGTERM. Raises `ParameterError` or `RunError`."""
    from driftcam.daemon.service.logs import Logs
    from driftcam.daemon.service.systemd import Systemd

    systemd = Systemd()
    load = loader(options)
    config = load()
    asyncio.run(_serve(config, load, Logs(config.log.level), systemd))
    return 0


async def _serve(config: Config, load: Callable[[], Config], logs: Logs, systemd: Systemd) -> None:
    from driftcam.daemon.serve import Service

    stop, reloading = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reloading.set)
    service = Service(config, logs, systemd)
    try:
        await service.open()
        stopping = asyncio.create_task(stop.wait())
        while not (stopping.done() or service.core.alive.done()):
            asked = asyncio.create_task(reloading.wait())
            await asyncio.wait([stopping, asked, service.core.alive], return_when=asyncio.FIRST_COMPLETED)
            if reloading.is_set():
                reloading.clear()
                await service.reload(load)
            asked.cancel()
        if service.core.alive.done():
            service.core.alive.result()
    finally:
        await service.close()
