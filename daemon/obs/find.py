"""Where OBS is on this machine: the program, its folders, its websocket."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftcam.daemon.config.folders import home_folder
from driftcam.daemon.errors import RunError
from driftcam.daemon.obs.remote import DEFAULT_PORT

OLDEST = (29, 0)  # whose libobs the plugin is built for
FLATPAK = "com.obsproject.Studio"


@dataclass(frozen=True)
class Found:
    """An installed OBS.

    Attributes:
        version: as the program says, (major, minor, patch).
        flatpak: it lives in a sandbox.
    """

    program: str
    version: tuple[int, ...]
    flatpak: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"OBS {'.'.join(map(str, self.version))}{' (Flatpak)' if self.flatpak else ''}"


def find_obs(environ: Mapping[str, str] = os.environ) -> Found:
    """The OBS of this machine. Raises `RunError`: there is none, it is too old, or only a Flatpak."""
    program = shutil.which("obs", path=environ.get("PATH"))
    if program is None:
        if flatpak_installed(environ):
            raise RunError(
                "OBS is installed as a Flatpak, whose sandbox reaches neither this plugin nor the daemon's bus; "
                "use the virtual camera or the browser source (docs/obs.md), or a packaged OBS"
            )
        raise RunError("OBS is not installed here; install the package obs-studio (29 or newer)")
    version = read_version(program, environ)
    if version < OLDEST:
        text = ".".join(map(str, version))
        raise RunError(f"this is OBS {text}; the plugin needs 29.0 or newer (or use the virtual camera, docs/obs.md)")
    return Found(program, version, flatpak=False)


def flatpak_installed(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a Flatpak of OBS, of the system or the user."""
    home = home_folder(environ)
    places = (Path("/var/lib/flatpak/app"), home / ".local/share/flatpak/app", home / ".var/app")
    return any((place / FLATPAK).is_dir() for place in places)


def read_version(program: str, environ: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """What `obs --version` says. Raises `RunError`."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, env=dict(environ), check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{program} cannot be run ({error})") from None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if found is None:
        raise RunError(f"{program} --version does not say a version; is it OBS?")
    return tuple(int(part or 0) for part in found.groups())


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """OBS's configuration of this user."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home_folder(environ) / ".config") / "obs-studio"


@dataclass(frozen=True)
class WebSocket:
    """Settings of obs-websocket. `password` is empty where none is wanted."""

    enabled: bool
    port: int
    password: str


def read_websocket(folder: Path) -> WebSocket | None:
    """As saved by OBS: since 30.2 in a file of its own, before in global.ini; None when OBS has never saved them."""
    file = folder / "plugin_config" / "obs-websocket" / "config.json"
    try:
        values = json.loads(file.read_text())
        password = str(values["server_password"]) if values.get("auth_required", True) else ""
        return WebSocket(bool(values["server_enabled"]), int(values["server_port"]), password)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string((folder / "global.ini").read_text(encoding="utf-8-sig"))
        section = parser["OBSWebSocket"]
        password = section.get("ServerPassword", "") if section.getboolean("AuthRequired", True) else ""
        return WebSocket(
            section.getboolean("ServerEnabled", False), section.getint("ServerPort", DEFAULT_PORT), password
        )
    except (OSError, KeyError, ValueError, configparser.Error):
        return None
