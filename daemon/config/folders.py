"""Where Driftcam keeps what outlives a run: the user's folders, or those that systemd gives to a system service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

NAME = "driftcam"


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """`DRIFTCAM_CONFIG`, or config.toml in the configuration folder."""
    if given := environ.get("DRIFTCAM_CONFIG"):
        return Path(given)
    return _folder(environ, "CONFIGURATION_DIRECTORY", "XDG_CONFIG_HOME", ".config") / "config.toml"


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """For the token and the presets."""
    return _folder(environ, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state")


def recordings_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """~/Videos/Driftcam; a system service records into its state folder."""
    if environ.get("STATE_DIRECTORY"):
        return state_folder(environ) / "recordings"
    return home_folder(environ) / "Videos" / "Driftcam"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """For what can be made again."""
    return _folder(environ, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache")


def runtime_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """For sockets; None where the system gives the user no such folder."""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])
    base = Path(environ.get("XDG_RUNTIME_DIR", ""))
    return base / NAME if base.is_absolute() else None


def _folder(environ: Mapping[str, str], service: str, user: str, under_home: str) -> Path:
    if given := environ.get(service):  # systemd's own is already named after the service; it may list several
        return Path(given.split(":")[0])
    base = Path(environ.get(user, ""))
    return (base if base.is_absolute() else home_folder(environ) / under_home) / NAME


def home_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Of this user; one that is not there, for a user without any (a number that no account has, as in containers)."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        return Path("/nonexistent")
