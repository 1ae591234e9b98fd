"""Puts the plugin into OBS's folder of the user, and takes it away."""

from __future__ import annotations

import os
import shlex
import shutil
import tarfile
import tempfile
from pathlib import Path

from driftcam.daemon.config.folders import cache_folder
from driftcam.daemon.errors import RunError

NAME = "driftcam"
LIBRARY = Path("bin") / "64bit" / f"{NAME}.so"
ROOT = Path(__file__).resolve().parents[2]  # of the checkout, or the installed package, which has the sources too
SOURCES, CHECKOUT = ROOT / "obs_plugin", (ROOT / "Makefile").is_file()
BUILT = (ROOT / "build" if CHECKOUT else cache_folder()) / "obs-plugin" / "stage" / NAME


def plugin_folder(config: Path) -> Path:
    """Where OBS looks for it."""
    return config / "plugins" / NAME


def install(config: Path, source: Path | None) -> bool:
    """Install from a folder or a release archive, or what `build_command` built. False when it is there already.

    The old one is replaced as a whole, so that an OBS that starts meanwhile finds one of the two.
    Raises `RunError`.
    """
    target = plugin_folder(config)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{NAME}-") as scratch:
        fresh = _unpacked(source or BUILT, Path(scratch))
        if same(fresh, target):
            return False
        copy, old = Path(scratch) / "new", Path(scratch) / "old"
        shutil.copytree(fresh, copy)
        if target.exists():
            os.rename(target, old)
        os.rename(copy, target)
    return True


def build_command(checkout: bool = CHECKOUT) -> str:
    """What fills `BUILT`: the make target, or where there is no Makefile what it does. It needs OBS's headers."""
    if checkout:
        return "make obs-plugin"
    build, prefix = (shlex.quote(str(folder)) for folder in (BUILT.parents[1], BUILT.parent))
    sources = shlex.quote(str(SOURCES))
    return f"cmake -S {sources} -B {build} -DCMAKE_INSTALL_PREFIX={prefix} && cmake --build {build} --target install"


def uninstall(config: Path) -> bool:
    """False when it was not there."""
    target = plugin_folder(config)
    if not target.exists():
        return False
    shutil.rmtree(target)
    return True


def same(one: Path, other: Path) -> bool:
    """Whether both folders hold the same files."""
    return _contents(one) == _contents(other)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def _unpacked(source: Path, scratch: Path) -> Path:
    """The plugin's folder in `source`."""
    folder = source
    if source.is_file():
        try:
            with tarfile.open(source) as archive:
                archive.extractall(scratch / "archive", filter="data")
        except (tarfile.TarError, OSError) as error:
            raise RunError(f"{source} is no release archive of the plugin ({error})") from None
        folder = scratch / "archive" / NAME
    if not (folder / LIBRARY).is_file():
        raise RunError(
            f"there is no plugin in {source}: build it with `{build_command()}` (needs cmake, gcc, libobs-dev) and run "
            "this again, or name the folder or release archive with --plugin"
        )
    return folder
