"""The unit files, as systemd itself judges them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from driftcam.daemon.cli import main
from driftcam.daemon.service.units import CAMERA, check_reachable, unit
from driftcam.engines.api import ParameterError

MOST_EXPOSURE = 4.0
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def write(folder: Path, system: bool) -> Path:
    path = folder / "driftcam.service"
    # The program of a test's installation may be anywhere; systemd only wants to see one.
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit(system), flags=re.M))
    return path


@needs_analyze
@pytest.mark.parametrize("system", [False, True])
def test_systemd_understands_every_line(tmp_path: Path, system: bool) -> None:
    done = subprocess.run(["systemd-analyze", "verify", write(tmp_path, system)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_system_service_is_shut_in(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", write(tmp_path, True)]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= MOST_EXPOSURE, said


def test_what_is_left_open_has_a_reason() -> None:
    text = unit(True)
    for directive in ("PrivateDevices", "MemoryDenyWriteExecute", "ProcSubset", "PrivateNetwork", "PrivateUsers"):
        assert re.search(rf"^# .*{directive}=", text, re.M), directive


@pytest.mark.parametrize("system", [False, True])
def test_ready_watchdog_and_reload_are_in_the_unit(system: bool) -> None:
    lines = unit(system).splitlines()
    for line in ("Type=notify", "Restart=on-failure", "ExecReload=/bin/kill -HUP $MAINPID", "OOMPolicy=continue"):
        assert line in lines
    seconds = next(int(line.partition("=")[2]) for line in lines if line.startswith("WatchdogSec="))
    assert seconds >= 20, "a machine that wakes up must not look like a hang"


def test_an_installation_in_a_home_is_refused_for_a_system_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/home/somebody/driftcam/.venv/bin/python")
    with pytest.raises(ParameterError, match="/opt/driftcam"):
        check_reachable()


def test_units_and_camera_files_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "print"]) == 0
    assert capsys.readouterr().out == unit(False)
    assert main(["service", "print", "--system", "--camera"]) == 0
    shown = capsys.readouterr().out
    assert all(f"# {path}\n{text}" in shown for path, text in CAMERA.items())
    assert 'card_label="Driftcam" exclusive_caps=1' in shown
