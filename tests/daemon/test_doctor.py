"""`driftcam doctor`: a report that a script can read and an exit status that it can trust."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from driftcam.daemon.cli import main
from driftcam.daemon.commands import doctor as room
from driftcam.daemon.commands.doctor import engine_findings, obs, table
from driftcam.engines.api.findings import Finding


def test_json_lists_every_part_of_the_machine(capsys: pytest.CaptureFixture) -> None:
    """The real thing on this machine, which has no driver: that is no failure."""
    status = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    by_name = {finding["what"]: finding for finding in report["findings"]}
    for what in ("CPU", "OpenVINO", "GPU", "NVIDIA driver", "CUDA", "TensorRT", "NVENC", "virtual camera", "OBS"):
        assert by_name[what]["detail"], what
    assert by_name["systemd"] and by_name["embedded model"]["state"] == "good"
    assert by_name["networks run on"]["detail"].count(":") >= 1, "says why"
    assert report["ok"] == (status == 0) == all(f["state"] != "bad" for f in report["findings"])


@pytest.mark.parametrize(("state", "status"), [("good", 0), ("absent", 0), ("bad", 1)])
def test_the_exit_status_tells(state, status, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    finding = Finding("GPU", state, "a card", "do this")
    monkeypatch.setattr(room, "engine_findings", lambda full: [finding])
    monkeypatch.setattr(room, "virtual_camera", lambda: Finding("virtual camera", "absent", "none"))
    assert main(["doctor"]) == status
    shown = capsys.readouterr().out
    assert room.MARKS[state] + " GPU" in shown and "→ do this" in shown


@pytest.mark.parametrize(
    ("code", "message"),
    [("import os; os.abort()", "status -6"), ("raise ImportError('no torch')", "no torch"), ("print('x')", "no word")],
)
def test_a_look_that_crashes_is_a_finding(code: str, message: str) -> None:
    (finding,) = engine_findings(False, [sys.executable, "-c", code])
    assert finding.state == "bad" and message in finding.detail


def test_full_is_passed_on() -> None:
    code = "import sys, json; print('noise'); print(json.dumps([dict(what=sys.argv[1], state='good', detail='')]))"
    assert engine_findings(True, [sys.executable, "-c", code])[0].what == "--try"


def test_the_plugin_is_found_where_obs_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.shutil, "which", lambda name: "/usr/bin/obs")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert "not installed" in obs(tmp_path).detail
    plugin = tmp_path / ".config/obs-studio/plugins/driftcam-obs/bin/64bit/driftcam-obs.so"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    assert str(plugin) in obs(tmp_path).detail


def test_columns_of_the_table_are_aligned() -> None:
    lines = table([Finding("a", "good", "one"), Finding("longer", "bad", "two", "help")]).splitlines()
    assert [line.index(word) for line, word in zip(lines, ("one", "two", "→"), strict=True)] == [10, 10, 10]


def test_the_daemon_looks_without_importing_the_engines_room() -> None:
    code = (
        "import sys, driftcam.daemon.commands.doctor as room; room.engine_findings = lambda full: [];"
        "room.doctor([]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
