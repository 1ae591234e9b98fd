"""The same file of the plugin that runs in OBS 29 runs in libobs 32 (from the wheel `pylibobs`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.obs_plugin.peer import Peer
from tests.system.obs.rig import ROOT, start_display

pytestmark = pytest.mark.serial

PACKAGES = ("pylibobs==32.2.2", "av==12.3.0", "cffi")  # this av brings the FFmpeg 6 that this libobs wants


@pytest.fixture(scope="session")
def libobs32() -> Path:
    """A folder with the packages, and their libraries under the names by which they are looked for."""
    folder = ROOT / "build" / "libobs32"
    if not (folder / "ready").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip(f"pip cannot install {', '.join(PACKAGES)}")
        for library in (folder / "av.libs").glob("lib*.so.*"):
            if found := re.fullmatch(r"(lib(?:av|sw|post)\w+)-\w+\.so\.(\d+)\..*", library.name):
                library.with_name(f"{found[1]}.so.{found[2]}").symlink_to(library.name)
        for copy in libraries(folder).glob("libobs.so.*"):  # three copies of one library would be three libraries
            copy.unlink()
            copy.symlink_to("libobs.so")
        (folder / "ready").touch()
    return folder


def libraries(folder: Path) -> Path:
    return folder / "pylibobs" / "_libs" / "linux" / "x86_64"


def test_the_plugin_filters_in_libobs_32(plugins: Path, libobs32: Path, tmp_path: Path) -> None:
    peer = Peer(tmp_path / "driftcam" / "bus.sock")
    display, number = start_display()
    try:
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("libobs32.py"), plugins / "driftcam"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "XDG_RUNTIME_DIR": str(tmp_path),
                "DISPLAY": f":{number}",
                "LIBGL_ALWAYS_SOFTWARE": "1",
                "PYTHONPATH": str(libobs32),
                "LD_LIBRARY_PATH": f"{libobs32 / 'av.libs'}:{libraries(libobs32)}",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        display.terminate()
        display.wait(20)
        peer.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "libobs 32" in done.stdout and "became (0, 0, 255)" in done.stdout
    assert "without the filter (255, 0, 0)" in done.stdout
    assert peer.clients[0].hello["role"] == "filter" and peer.troubles == []
