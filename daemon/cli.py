"""The command `driftcam`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from driftcam.daemon import terminal
from driftcam.daemon.arguments import BAD_INPUT, Parser
from driftcam.daemon.commands import config, ctl, run, serve, service, top
from driftcam.engines.api import ParameterError
from driftcam.engines.api.styles import STYLES


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return terminal.run(lambda: _main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(given: list[str]) -> int:
    if given[:1] == ["engine"]:
        # The engine's room is met over processes only; its tools read their own arguments.
        tools = [sys.executable, "-P", "-m", "driftcam.engines.prebuild", *given[1:]]
        return subprocess.run(tools, env={**os.environ, "PYTHONIOENCODING": ":replace"}).returncode
    if given[:1] == ["doctor"]:
        from driftcam.daemon.commands.doctor import doctor

        return doctor(given[1:])
    if given[:1] == ["obs"]:
        from driftcam.daemon.obs.command import main as obs

        return obs(given[1:])
    options = _parser().parse_args(given)
    try:
        return options.main(options)
    except Exception as error:
        from driftcam.daemon.errors import RunError

        if not isinstance(error, (ParameterError, RunError)):
            raise
        for line in getattr(error, "problems", [str(error)]):
            print(f"driftcam: {line}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="driftcam", description="Live video through diffusion.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("styles", help="list the named styles").set_defaults(main=_styles)
    commands.add_parser("doctor", help="what this machine has, what will be used and why")
    commands.add_parser("engine", help="build, list, verify and prune TensorRT engines")
    commands.add_parser("obs", help="set OBS up and follow it")
    for family in (run, serve, ctl, top, config, service):
        family.add(commands)
    return parser


def _styles(options: argparse.Namespace) -> int:
    for name, about in STYLES:
        print(f"{name:<18}{about}")
    return 0
