"""`driftcam top`: a running daemon in the terminal, until Ctrl+C."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import TYPE_CHECKING, Any

from driftcam.daemon.commands.client import Daemon, add_address
from driftcam.daemon.errors import RunError

if TYPE_CHECKING:
    from rich.console import RenderableType

LINES = 12


def add(commands: argparse._SubParsersAction) -> None:
    top = commands.add_parser("top", help="watch a running daemon")
    add_address(top)
    top.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    top.add_argument("--once", action="store_true", help="show it once and end")
    top.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Returns the exit status. Raises `ParameterError`, or `RunError` where no daemon answers at the start."""
    from rich.console import Console
    from rich.live import Live

    daemon = Daemon(options)
    view = ask(daemon)
    if options.once:
        Console().print(view)
        return 0
    with contextlib.suppress(KeyboardInterrupt), Live(view, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(min(max(options.every, 0.2), 60.0))
            try:
                view = ask(daemon)
            except RunError as error:
                view = str(error)
            live.update(view, refresh=True)
    return 0


def ask(daemon: Daemon) -> RenderableType:
    """What is to be seen now. Raises `RunError`."""
    return draw(daemon.get("/api/sessions"), daemon.get("/api/engine"), daemon.get("/api/logs", lines=LINES))


def draw(sessions: list[dict[str, Any]], engine: dict[str, Any], log: list[dict[str, Any]]) -> RenderableType:
    """Sessions, engine and log as three tables."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title="sessions", title_justify="left", expand=True)
    for name in ("session", "source", "fps in", "fps", "latency ms", "engine ms", "dropped", "sinks"):
        table.add_column(name, justify="left" if name in ("session", "source", "sinks") else "right")
    for state in sessions:
        numbers = [f"{state.get(key, 0):.1f}" for key in ("fps_in", "fps", "latency_ms", "engine_ms")]
        sinks = ", ".join(state.get("sinks", []))
        table.add_row(state["session"], state.get("source", ""), *numbers, str(state["dropped"]), sinks)
    stages = Table(title="stages of the engine", title_justify="left", expand=True)
    for name in ("stage", "p50 ms", "p95 ms"):
        stages.add_column(name, justify="left" if name == "stage" else "right")
    for stage, summary in engine["report"].get("stages_ms", {}).items():
        stages.add_row(stage, *(f"{summary[key]:.1f}" if key in summary else "" for key in ("p50", "p95")))
    colour = "green" if engine["state"] == "ready" else "red"
    head = Text.assemble("engine ", (engine["state"], colour), f"  {engine['backend']}  restarts {engine['restarts']}")
    if engine["reason"]:
        head.append(f"  {engine['reason']}", "red")
    lines = [
        Text(f"{time.strftime('%H:%M:%S', time.localtime(line['time']))} {line['level']:<7} {line['text']}")
        for line in log
    ]
    return Group(head, table, stages, *lines)
