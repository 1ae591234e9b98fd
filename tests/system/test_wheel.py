"""The wheel, built from this checkout and installed where nothing else of it is: its commands find all they need."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon.conftest import ROOT, read_clip, write_clip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Installed:
    """A virtual environment that has the wheel, and of the environment of the tests only what Driftcam depends on."""

    folder: Path

    @property
    def elsewhere(self) -> Path:
        return self.folder / "elsewhere"

    @property
    def environ(self) -> dict[str, str]:
        home, run = self.folder / "home", self.folder / "run"
        return {"PATH": f"{self.folder / 'venv/bin'}:/usr/bin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": str(run)}

    def start(self, *command: str, **options: object) -> subprocess.Popen[str]:
        program = shutil.which(command[0], path=self.environ["PATH"])
        assert program is not None and Path(program).is_relative_to(self.folder)
        return subprocess.Popen(  # type: ignore[call-overload]
            [program, *command[1:]], cwd=self.elsewhere, env=self.environ, text=True, **options
        )

    def run(self, *command: str, status: int = 0) -> str:
        """What a command says. Fails when it ends with another `status`."""
        process = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = process.communicate(timeout=500)
        assert process.returncode == status, said
        return said


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(tracked, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")[:-1]:
        if os.path.lexists(ROOT / name):  # deleted, but not yet in the index
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "-w", folder, source], check=True)
    return next(folder.glob("driftcam-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    there = Installed(tmp_path_factory.mktemp("installed"))
    for folder in (there.folder / "home", there.elsewhere):
        folder.mkdir()
    (there.folder / "run").mkdir(mode=0o700)
    venv = there.folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = str(venv / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", str(wheel)]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(pip, cwd=there.elsewhere, env=environ, check=True)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    # A folder in a .pth has its own .pth files ignored, and with them the checkout.
    (Path(packages) / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return there


def test_it_holds_one_package_of_real_files_and_all_that_is_no_code(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {entry.filename: entry for entry in archive.infolist()}
    assert {name.split("/")[0].split("-")[0] for name in held} == {"driftcam"}
    assert not [name for name, entry in held.items() if stat.S_ISLNK(entry.external_attr >> 16)]
    sources = subprocess.run(
        ["git", "ls-files", "daemon", "engines", "webrtc", "obs_plugin"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")[:-1]
    assert len(sources) > 250
    assert [name for name in sources if (ROOT / name).exists() and f"driftcam/{name}" not in held] == []


def test_nothing_but_driftcam_is_importable(installed: Installed) -> None:
    where = installed.run("python", "-c", "import driftcam; print(driftcam.__file__)")
    assert Path(where.strip()).is_relative_to(installed.folder)
    for name in ("daemon", "engines", "webrtc", "scripts", "tests"):
        assert f"No module named '{name}'" in installed.run("python", "-c", f"import {name}", status=1)


def test_what_only_speaks(installed: Installed) -> None:
    assert "starry-night" in installed.run("driftcam", "styles")
    assert "usage: driftcam obs setup" in installed.run("driftcam", "obs", "setup", "--help")
    unit = installed.run("driftcam", "service", "print")
    assert f"ExecStart={installed.folder / 'venv/bin/driftcam'} serve" in unit
    assert "usage: driftcam engine" in installed.run("driftcam", "engine", "--help")


def test_the_doctor_sees_this_machine(installed: Installed) -> None:
    report = json.loads(installed.run("driftcam", "doctor", "--json"))
    assert {"CPU", "OpenVINO"} <= {finding["what"] for finding in report["findings"]}


def test_a_clip_is_stylised_by_the_embedded_model(installed: Installed) -> None:
    clip = write_clip(installed.elsewhere / "clip.mp4", 6)
    installed.run("driftcam", "run", "--source", f"clip:{clip}", "--sink", "file:out.mp4", "--size", "64")
    before, after = read_clip(clip), read_clip(installed.elsewhere / "out.mp4")
    assert len(after) == len(before)
    assert abs(after[-1][1].std() - before[-1][1].std()) > 5, "the picture is as it was"


def test_the_page_is_served_with_its_pictures(installed: Installed) -> None:
    address = f"127.0.0.1:{free_port()}"
    serving = installed.start("driftcam", "serve", "--listen", address, "--source", "test")
    try:
        assert b"<title>" in fetch(f"http://{address}/")
        styles = json.loads(fetch(f"http://{address}/api/styles"))
        assert len(styles) > 20
        assert fetch(f"http://{address}/styles/great-wave.jpg")[:3] == b"\xff\xd8\xff"
        assert fetch(f"http://{address}/js/main.js")
    finally:
        serving.terminate()
        assert serving.wait(60) == 0


@pytest.fixture
def plugin_tools() -> Iterator[None]:
    if not (shutil.which("cmake") and Path("/usr/include/obs").exists()):
        pytest.skip("cmake and libobs-dev build the plugin")
    yield


def test_the_obs_plugin_can_be_built_from_what_it_holds(
    installed: Installed, plugin_tools: None, tmp_path: Path
) -> None:
    sources = next(installed.folder.glob("venv/lib/python*/site-packages/driftcam/obs_plugin"))
    stage = tmp_path / "stage"
    for command in (
        ["cmake", "-S", sources, "-B", tmp_path / "build", f"-DCMAKE_INSTALL_PREFIX={stage}"],
        ["cmake", "--build", tmp_path / "build", "--target", "install"],
    ):
        subprocess.run(command, check=True, capture_output=True, env=installed.environ)
    assert (stage / "driftcam" / "bin" / "64bit" / "driftcam.so").exists()
    assert (stage / "driftcam" / "data" / "locale" / "en-US.ini").exists()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def fetch(url: str, timeout: float = 60.0) -> bytes:
    """Waits until somebody answers."""
    end = time.monotonic() + timeout
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.read()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) or time.monotonic() > end:
                raise
            time.sleep(0.1)
