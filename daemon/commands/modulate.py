"""`driftcam ctl modulate`: parameters that follow time, sound or motion."""

from __future__ import annotations

import argparse
from typing import Any

from driftcam.daemon.commands.client import Daemon
from driftcam.daemon.commands.parameters import add_field, given
from driftcam.daemon.modulation.settings import BPM, FIELDS, WAVES
from driftcam.engines.api import ParameterError
from driftcam.engines.api.shift import STYLE


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parameter", nargs="?", help="which, or styles.NAME for a style's weight")
    parser.add_argument("verb", nargs="?", choices=("on", "off", "end"))
    for field in (*FIELDS.values(), BPM):
        add_field(parser, field)
    parser.add_argument("--beat", action="store_true", help="a beat falls now")


def modulate(daemon: Daemon, options: argparse.Namespace) -> None:
    """Raises `ParameterError`."""
    if options.beat:
        daemon.send("POST", "/api/modulation/beat")
    changes: dict[str, Any] = given(options, [BPM])
    values = given(options, FIELDS.values())
    if options.verb in ("on", "off"):
        values["on"] = options.verb == "on"
    if options.parameter is not None:
        changes["modulators"] = {_name(options.parameter): None if options.verb == "end" else values}
    elif values:
        raise ParameterError("modulate", None, "write: driftcam ctl modulate PARAMETER --follows sine")
    state = daemon.send("PATCH", "/api/modulation", changes) if changes else daemon.get("/api/state")
    print(*describe(state) or ["nothing is modulated"], sep="\n")


def _name(typed: str) -> str:
    """Of a style as it is, of a parameter with its underlines."""
    return typed if typed.startswith(STYLE) else typed.replace("-", "_")


def describe(state: dict[str, Any]) -> list[str]:
    """What moves, for people, a line each."""
    modulation = state["modulation"]
    lines = []
    for target, each in modulation["modulators"].items():
        now = state["modulated"].get(target)
        where = "" if now is None else f", now {now:.2f}"
        length = f" over {each['beats']} beats of {modulation['bpm']:g} bpm" if each["follows"] in WAVES else ""
        off = "" if each["on"] else " (off)"
        lines.append(f"modulated  {target} by {each['follows']}{length} x {each['depth']:g}{where}{off}")
    return lines
