"""`driftcam service`: Driftcam as a service of systemd, of a user or of the machine."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from driftcam.daemon.config.folders import home_folder
from driftcam.daemon.errors import RunError


def add(commands: argparse._SubParsersAction) -> None:
    service = commands.add_parser("service", help="install Driftcam as a service of systemd")
    actions = service.add_subparsers(dest="action", required=True)
    for name, about, does in (
        ("install", "write the unit, start it now and at each login", install),
        ("uninstall", "stop it and take the unit away", uninstall),
        ("status", "what systemd says of it", status),
        ("print", "the unit, to look at", show),
    ):
        parser = actions.add_parser(name, help=about)
        parser.add_argument("--system", action="store_true", help="of the machine, hardened; needs root")
        if name != "status":
            camera = "the virtual camera's files for modprobe and udev instead; needs root"
            parser.add_argument("--camera", action="store_true", help=camera)
        parser.set_defaults(main=main, does=does)


def main(options: argparse.Namespace) -> int:
    """Returns the exit status. Raises `ParameterError` or `RunError`."""
    return options.does(options)


def show(options: argparse.Namespace) -> int:
    from driftcam.daemon.service.units import CAMERA, unit

    if options.camera:
        for path, text in CAMERA.items():
            print(f"# {path}\n{text}")
    else:
        print(unit(options.system), end="")
    return 0


def install(options: argparse.Namespace) -> int:
    from driftcam.daemon.service.units import CAMERA, NAME, check_reachable, unit

    if options.camera:
        for path, text in CAMERA.items():
            _write(path, text)
        print("the camera is there after the next start; now: sudo modprobe v4l2loopback")
        print("v4l2loopback itself comes from your distribution, on Debian and Ubuntu: v4l2loopback-dkms")
        return 0
    if options.system:
        check_reachable()
    path = _folder(options.system) / NAME
    _write(path, unit(options.system))
    _systemctl(options.system, "daemon-reload")
    _systemctl(options.system, "enable", "--now", NAME)
    scope = "" if options.system else "--user "
    print(f"{path} is written and started; its log: journalctl {scope}-u {NAME}")
    return 0


def uninstall(options: argparse.Namespace) -> int:
    from driftcam.daemon.service.units import CAMERA, NAME

    if options.camera:
        for path in CAMERA:
            _remove(path)
        return 0
    path = _folder(options.system) / NAME
    if not path.exists():
        raise RunError(f"{path} is not there, so nothing was to be done")
    _systemctl(options.system, "disable", "--now", NAME)
    _remove(path)
    _systemctl(options.system, "daemon-reload")
    return 0


def status(options: argparse.Namespace) -> int:
    from driftcam.daemon.service.units import NAME

    return subprocess.run([*_command(options.system), "status", "--no-pager", NAME]).returncode


def _folder(system: bool) -> Path:
    if system:
        return Path("/etc/systemd/system")
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else home_folder() / ".config") / "systemd" / "user"


def _command(system: bool) -> list[str]:
    """Raises `RunError`."""
    if shutil.which("systemctl") is None:
        raise RunError("there is no systemctl here; start `driftcam serve` in another way")
    return ["systemctl"] if system else ["systemctl", "--user"]


def _systemctl(system: bool, *arguments: str) -> None:
    """Raises `RunError` with its own words."""
    done = subprocess.run([*_command(system), *arguments], capture_output=True, text=True)
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise RunError(f"systemctl {' '.join(arguments)}: {words}")


def _write(path: Path, text: str) -> None:
    """Raises `RunError`."""
    from driftcam.daemon.files import write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode(), 0o644)
    except OSError as error:
        raise RunError(f"{path}: it cannot be written ({error.strerror}){_as_root(error)}") from None


def _remove(path: Path) -> None:
    """Raises `RunError`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path}: it cannot be deleted ({error.strerror}){_as_root(error)}") from None


def _as_root(error: OSError) -> str:
    return "; this needs root: sudo" if isinstance(error, PermissionError) else ""
