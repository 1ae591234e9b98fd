"""`driftcam obs`: installs the plugin, sets OBS up over its websocket, and follows it."""

from __future__ import annotations

import argparse
import getpass
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from driftcam.daemon.arguments import BAD_INPUT, Parser
from driftcam.daemon.errors import RunError
from driftcam.daemon.obs import find, follow, install, scenes
from driftcam.daemon.obs.remote import DEFAULT_PORT, Remote
from driftcam.engines.api import ParameterError


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.main(options)
    except (RunError, ParameterError) as error:
        print(f"driftcam obs: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="driftcam obs", description="Sets OBS up for Driftcam and follows it.")
    commands = parser.add_subparsers(required=True)
    setup = commands.add_parser("setup", help="install the plugin; in a running OBS add scene, filters and output")
    setup.add_argument("--plugin", type=Path, metavar="PATH", help="folder or release archive (what make built)")
    setup.add_argument("--source", action="append", default=[], metavar="NAME", help="gets the filter; may be repeated")
    setup.add_argument("--style", metavar="NAME", help="of those filters")
    setup.add_argument("--virtual-camera", action="store_true", help="start OBS's virtual camera")
    setup.set_defaults(main=_setup)
    status = commands.add_parser("status", help="what is installed, running and connected")
    status.set_defaults(main=_status)
    uninstall = commands.add_parser("uninstall", help="take plugin, filters, outputs and scene away")
    uninstall.set_defaults(main=_uninstall)
    for command in (setup, uninstall):
        command.add_argument("--scene", default="Driftcam", metavar="NAME", help="that shows the output (Driftcam)")
    following = commands.add_parser("follow", help="apply a preset for every scene, send numbers")
    following.add_argument("--scene", action="append", default=[], metavar="SCENE=PRESET", help="may be repeated")
    following.add_argument("--stats", type=float, default=2.0, metavar="SECONDS", help="between numbers (2)")
    following.add_argument("--text", metavar="SOURCE", help="a text source of OBS that shows the numbers")
    following.set_defaults(main=_follow)
    for command in (setup, status, uninstall, following):
        command.add_argument("--host", default="127.0.0.1", metavar="HOST", help="of the websocket (127.0.0.1)")
        command.add_argument("--port", type=int, metavar="N", help=f"of the websocket ({DEFAULT_PORT})")
        command.add_argument("--password-file", type=Path, metavar="PATH", help="holds the password of the websocket")
    return parser


def say(line: str) -> None:
    """One line for people."""
    print(line, flush=True)


def connect(options: argparse.Namespace) -> Remote:
    """The running OBS. Its password comes from the file, from OBS's own settings of this user, or is asked for.

    Raises `RunError` or `ParameterError`.
    """
    saved = find.read_websocket(find.config_folder())
    port = options.port or (saved.port if saved else DEFAULT_PORT)
    if options.password_file is not None:
        try:
            password = options.password_file.read_text().strip("\r\n")
        except (OSError, ValueError) as error:
            raise ParameterError("password-file", str(options.password_file), f"it cannot be read ({error})") from None
    elif saved is not None and options.host == "127.0.0.1" and port == saved.port:
        password = saved.password
    elif sys.stdin.isatty():
        password = getpass.getpass("Password of OBS's websocket: ")
    else:
        raise RunError("OBS's websocket password is not known; put it into a file and name that with --password-file")
    return Remote(password, port, options.host)


def _setup(options: argparse.Namespace) -> int:
    obs = find.find_obs()
    say(f"found {obs.name}: {obs.program}")
    fresh = install.install(find.config_folder(), options.plugin)
    folder = install.plugin_folder(find.config_folder())
    say(f"the plugin is {'installed in' if fresh else 'already in'} {folder}")
    remote = connect(options)
    try:
        if not scenes.plugin_loaded(remote):
            raise RunError("the running OBS has not loaded the plugin: end OBS, start it and run this again")
        if fresh:
            say("end OBS and start it again so that it uses the new version of the plugin")
        made = scenes.ensure_output(remote, options.scene)
        say(f"the scene {options.scene!r} shows the daemon's picture{'' if made else ' already'}")
        settings = {"style": options.style} if options.style else {}
        for source in options.source:
            made = scenes.ensure_filter(remote, source, settings)
            say(f"the filter is {'now' if made else 'already'} on {source!r}")
        if options.virtual_camera:
            say(scenes.start_virtual_camera(remote))
    finally:
        remote.close()
    return 0


def _status(options: argparse.Namespace) -> int:
    obs = find.find_obs()
    say(f"found {obs.name}: {obs.program}")
    folder = install.plugin_folder(find.config_folder())
    installed = (folder / install.LIBRARY).is_file()
    say(f"plugin: {folder}" if installed else "plugin: not installed (driftcam obs setup)")
    remote = connect(options)
    try:
        version = remote.call("GetVersion")
        say(f"running: OBS {version['obsVersion']}, websocket {version['obsWebSocketVersion']}")
        if not scenes.plugin_loaded(remote):
            raise RunError("the running OBS has not loaded the plugin: end OBS, start it and run this again")
        say(follow.summary(remote.vendor("stats")["streams"]))
    finally:
        remote.close()
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    try:
        remote = connect(options)
    except RunError as error:
        say(f"what is in OBS's scenes stays there: {error}")
    else:
        scenes.remove_all(remote, options.scene, say)
        remote.close()
    gone = install.uninstall(find.config_folder())
    say("the plugin is removed; OBS forgets it when it ends" if gone else "the plugin was not installed")
    return 0


def _follow(options: argparse.Namespace) -> int:
    presets = follow.parse_scenes(options.scene)
    if not 0 <= options.stats <= 3600:
        raise ParameterError("stats", options.stats, "give seconds from 0 to 3600")
    remote = connect(options)
    follower = follow.Follower(remote, presets, interval=options.stats, text=options.text, say=say)
    stop = threading.Event()

    def end(number: int, frame: object) -> None:
        stop.set()
        follower.wake()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        follower.run(stop)
    finally:
        remote.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
