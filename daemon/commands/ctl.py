"""`driftcam ctl`: look at a running daemon and change what it does."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from driftcam.daemon.commands import modulate
from driftcam.daemon.commands.client import Daemon, add_address
from driftcam.daemon.commands.parameters import add_flag, add_flags, given, parse_value
from driftcam.engines.api import ParameterError

FOLLOW_EVERY = 1.0


def add(commands: argparse._SubParsersAction) -> None:
    ctl = commands.add_parser("ctl", help="control a running daemon")
    add_address(ctl)
    actions = ctl.add_subparsers(dest="action", required=True)

    def action(name: str, about: str, does: Any) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=about)
        parser.set_defaults(main=main, does=does)
        return parser

    action("status", "what it is doing", status).add_argument("--json", action="store_true", help="for programs")
    change = action("set", "change parameters", set_values)
    change.add_argument("values", nargs="*", metavar="NAME=VALUE")
    add_flags(change)
    action("undo", "go back to the look before the last change", undo)
    action("redo", "do again what was undone", redo)
    action("prompt", "a style in words", prompt).add_argument("text", nargs="+")
    action("style", "named styles", style).add_argument("styles", metavar="NAME[:WEIGHT][,NAME…]")
    action("style-image", "a picture's style", style_image).add_argument("path", type=Path)
    preset = action("preset", "keep and use looks", preset_)
    preset.add_argument("verb", choices=("list", "save", "load", "delete"))
    preset.add_argument("name", nargs="?")
    add_flag(preset, "travel")  # of this one change, instead of the preset's own
    anchor = action("anchor", "hold the look of pictures for the whole stream", anchor_)
    anchor.add_argument("verb", choices=("add", "list", "drop", "clear"))
    anchor.add_argument(
        "what", nargs="?", metavar="PATH|NUMBER", help="a picture instead of what is shown; which to drop"
    )
    action("snapshot", "the newest picture into a file", snapshot).add_argument("path", type=Path, help=".png or .jpg")
    action("record", "start or stop a recording", record).add_argument("verb", choices=("start", "stop", "status"))
    switch = action("bypass", "show the untouched picture at once, or fade back", bypass)
    switch.add_argument("verb", choices=("on", "off", "toggle"))
    modulate.add(action("modulate", "let a parameter follow time, sound or motion", modulate.modulate))
    midi = action("midi", "what MIDI controllers do", midi_)
    midi.add_argument("verb", choices=("list", "learn", "forget"))
    midi.add_argument("what", nargs="*", help="to learn: a parameter, bypass, beat or preset NAME; to forget: cc 7")
    action("sessions", "all sessions", sessions)
    action("restart-engine", "end the engine process and start another", restart_engine)
    logs = action("logs", "the newest lines of the log", show_logs)
    logs.add_argument("-n", "--lines", type=int, default=50, metavar="N")
    logs.add_argument("-f", "--follow", action="store_true", help="and those that come")


def main(options: argparse.Namespace) -> int:
    """Returns the exit status. Raises `ParameterError` or `RunError`."""
    options.does(Daemon(options), options)
    return 0


def status(daemon: Daemon, options: argparse.Namespace) -> None:
    state = daemon.get("/api/state")
    if options.json:
        import json

        print(json.dumps(state, indent=2))
        return
    for line in describe(state):
        print(line)


def set_values(daemon: Daemon, options: argparse.Namespace) -> None:
    changes = given(options)
    for text in options.values:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError("set", text, "write NAME=VALUE, for example strength=0.8")
        name = name.strip().replace("-", "_")
        changes[name] = parse_value(name, value)
    if not changes:
        raise ParameterError("set", "nothing", "write NAME=VALUE or --NAME VALUE, for example strength=0.8")
    _show_look(daemon.send("PATCH", "/api/parameters", changes))


def undo(daemon: Daemon, options: argparse.Namespace) -> None:
    _show_look(daemon.send("POST", "/api/undo"))


def redo(daemon: Daemon, options: argparse.Namespace) -> None:
    _show_look(daemon.send("POST", "/api/redo"))


def prompt(daemon: Daemon, options: argparse.Namespace) -> None:
    _show_look(daemon.send("PATCH", "/api/parameters", {"prompt": " ".join(options.text)}))


def style(daemon: Daemon, options: argparse.Namespace) -> None:
    from driftcam.engines.api.styles import parse_styles

    _show_look(daemon.send("PATCH", "/api/parameters", {"styles": parse_styles(options.styles)}))


def style_image(daemon: Daemon, options: argparse.Namespace) -> None:
    _show_look(daemon.send("PUT", "/api/style-picture", _read("style_image", options.path)))


def _read(what: str, path: Path) -> bytes:
    """Raises `ParameterError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ParameterError(what, str(path), f"it cannot be read ({error.strerror})") from None


def anchor_(daemon: Daemon, options: argparse.Namespace) -> None:
    verb, what = options.verb, options.what
    if verb == "add":
        daemon.send("POST", "/api/anchors", None if what is None else _read("anchors", Path(what)))
    elif what is not None and verb != "drop":
        raise ParameterError("anchor", what, f"write: driftcam ctl anchor {verb}")
    elif verb == "drop":
        if what is None:
            raise ParameterError("anchor", None, "write: driftcam ctl anchor drop NUMBER")
        daemon.send("DELETE", f"/api/anchors/{quote(what, safe='')}")
    elif verb == "clear":
        daemon.send("DELETE", "/api/anchors")
    kept = daemon.get("/api/anchors")
    for each in kept:
        print(f"{each['number']}  {' '.join(each['colours'])}")
    if not kept:
        print("no look is kept", file=sys.stderr)


def preset_(daemon: Daemon, options: argparse.Namespace) -> None:
    way = given(options)
    if way and options.verb != "load":
        raise ParameterError("travel", way["travel"], "write: driftcam ctl preset load NAME --travel S")
    if options.verb == "list":
        presets = daemon.get("/api/presets")
        print(*presets["names"], sep="\n", end="\n" if presets["names"] else "")
        print(*presets["damaged"], sep="\n", end="\n" if presets["damaged"] else "", file=sys.stderr)
        return
    if options.name is None:
        raise ParameterError("preset", None, f"write: driftcam ctl preset {options.verb} NAME")
    method = {"save": "PUT", "load": "POST", "delete": "DELETE"}[options.verb]
    answer = daemon.send(method, f"/api/presets/{quote(options.name, safe='')}", **way)
    if answer is not None:
        _show_look(answer)


def snapshot(daemon: Daemon, options: argparse.Namespace) -> None:
    kind = options.path.suffix.lower().lstrip(".").replace("jpeg", "jpg")
    if kind not in ("png", "jpg"):
        raise ParameterError("snapshot", str(options.path), "use a name that ends in .png or .jpg")
    data = daemon.data("/api/snapshot", format=kind)
    try:
        options.path.write_bytes(data)
    except OSError as error:
        raise ParameterError("snapshot", str(options.path), f"it cannot be written ({error.strerror})") from None


def record(daemon: Daemon, options: argparse.Namespace) -> None:
    method = {"start": "POST", "stop": "DELETE", "status": "GET"}[options.verb]
    recording = daemon.send(method, "/api/recording")
    if recording is None:
        print("nothing is being recorded")
        return
    print("{path}: {frames} frames, {seconds} s, {bytes} bytes".format(**recording))


def bypass(daemon: Daemon, options: argparse.Namespace) -> None:
    if options.verb == "toggle":
        state = daemon.send("POST", "/api/bypass")
    else:
        state = daemon.send("PUT", "/api/bypass", {"on": options.verb == "on"})
    print("the untouched picture is shown" if state["bypass"] else "the stylised picture is shown")


def midi_(daemon: Daemon, options: argparse.Namespace) -> None:
    what = " ".join(options.what)
    if options.verb == "learn":
        daemon.send("POST", "/api/midi/learn", {"target": what})
        print(f"move the control that is to be for {what}" if what else "nothing is learned")
        return
    if options.verb == "forget":
        daemon.send("DELETE", f"/api/midi/{quote(what, safe='')}")
    state = daemon.get("/api/midi")
    for port in state["ports"]:
        print(f"port       {port}" + (", listened to" if port in state["open"] else ""))
    for control, target in state["map"].items():
        print(f"{control:<10} {target}")
    if state["problem"]:
        print(f"trouble    {state['problem']}")


def sessions(daemon: Daemon, options: argparse.Namespace) -> None:
    for state in daemon.get("/api/sessions"):
        source = state.get("source") or "no source"
        print(f"{state['session']:<16}{state['fps']:>6.1f} fps {state['latency_ms']:>6.0f} ms  {source}")


def restart_engine(daemon: Daemon, options: argparse.Namespace) -> None:
    daemon.send("POST", "/api/engine/restart")


def show_logs(daemon: Daemon, options: argparse.Namespace) -> None:
    lines = daemon.get("/api/logs", lines=min(max(options.lines, 1), 1000))
    shown = 0.0
    while True:
        for line in lines:
            if line["time"] > shown:
                print(f"{time.strftime('%H:%M:%S', time.localtime(line['time']))} {line['level']:<7} {line['text']}")
        shown = max([shown, *(line["time"] for line in lines)])
        if not options.follow:
            return
        sys.stdout.flush()
        try:
            time.sleep(FOLLOW_EVERY)
        except KeyboardInterrupt:  # which is how it ends
            return
        lines = daemon.get("/api/logs", lines=1000)


def describe(state: dict[str, Any]) -> list[str]:
    """A state for people, a line each."""
    recording = state.get("recording")
    lines = [
        f"engine     {state['engine']}  {state.get('backend', '')}".rstrip(),
        f"source     {state.get('source') or 'none'}",
        f"sinks      {', '.join(state.get('sinks', [])) or 'none'}",
        f"results    {state['fps']:.1f} fps, {state['latency_ms']:.0f} ms from capture, {state['dropped']} dropped",
        *_look(state["parameters"]),
    ]
    if state["bypass"]:
        lines.append("bypass     on: the untouched picture is shown")
    lines += modulate.describe(state)
    if recording:
        lines.append(f"recording  {recording['path']}, {recording['seconds']} s")
    if state.get("reason"):
        lines.append(f"trouble    {state['reason']}")
    return lines + [f"notice     {line}" for line in state["notices"]]


def _look(parameters: dict[str, Any]) -> list[str]:
    styles = ", ".join(f"{name} {weight:.2f}" for name, weight in parameters["styles"])
    picture = " and a picture" if parameters["style_picture"] else ""
    kept = f", {len(parameters['anchors'])} kept looks" if parameters["anchors"] else ""
    numbers = " ".join(f"{name}={parameters[name]:g}" for name in ("strength", "freedom", "memory", "steps", "seed"))
    return [f"style      {styles}{picture}", f"look       {numbers} {parameters['width']}x{parameters['height']}{kept}"]


def _show_look(state: dict[str, Any]) -> None:
    print(*_look(state["parameters"]), sep="\n")
