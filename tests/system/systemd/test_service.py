"""Driftcam as a service under a real systemd, as a user's and as the machine's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from driftcam.daemon.service.units import program
from tests.daemon import standin
from tests.daemon.conftest import ROOT
from tests.daemon.test_serve import free_port

pytestmark = pytest.mark.serial

HERE = Path(__file__).parent
CONFIG = """
[server]
listen = "127.0.0.1:PORT"
[live]
source = "test"
size = "128x64"
"""
STAND_IN = f"""
[engine]
implementation = "{standin.NAME}"
"""
# What a test cannot wait for, and where the stand-in engine is.
DROP_IN = """
[Service]
Environment=PYTHONPATH=SOURCES/src:SOURCES
WatchdogSec=6
TimeoutAbortSec=1
RestartSec=200ms
"""
MACHINE = """
[Unit]
DefaultDependencies=no
Requires=sysinit.target systemd-journald.service dbus.service
After=sysinit.target systemd-journald.service dbus.service
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
TimeoutStartSec=400
ExecStart=/bin/bash /out/prepare.sh
ExecStart=/usr/bin/python3 /opt/sources/tests/system/systemd/scenario.py --system DRIFTCAM PORT /out/seen
ExecStopPost=/bin/sh -c 'journalctl -q -u driftcam -o json --output-fields=MESSAGE,PRIORITY > /out/journal'
"""
# An installation outside of homes, as for a system service; its interpreter is the distribution's.
PREPARE = """
set -e
python3 -m venv --without-pip /opt/driftcam
site=$(echo /opt/driftcam/lib/python3*/site-packages)
printf '%s\\n' /opt/sources/src /opt/sources /opt/packages > $site/driftcam.pth
printf '#!/opt/driftcam/bin/python3\\nimport sys\\nfrom driftcam.daemon.cli import main\\nsys.exit(main())\\n' \\
  > /opt/driftcam/bin/driftcam
chmod +x /opt/driftcam/bin/driftcam
mkdir -p /etc/driftcam /etc/systemd/system/driftcam.service.d
cp /out/config.toml /etc/driftcam/config.toml
cp /out/test.conf /etc/systemd/system/driftcam.service.d/test.conf
"""


def needs(*programs: str) -> None:
    """Skip where this machine cannot do it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root, for namespaces")
    for name in ("unshare", "/lib/systemd/systemd", *programs):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")
    if subprocess.run(["unshare", "-m", "--propagation", "private", "mount", "-t", "tmpfs", "t", "/mnt"]).returncode:
        pytest.skip("nothing can be mounted here")


# Groups of processes outlive the namespace in which they were made.
SWEEP = "mount -t cgroup2 none /mnt && find /mnt -depth -path '/mnt/driftcam-test-*' -type d -exec rmdir {} +"


def run(*command: str | Path, log: Path) -> None:
    try:
        with log.open("w") as out:
            words = [str(part) for part in command]
            subprocess.run(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, timeout=420)
    finally:
        subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", SWEEP], capture_output=True)


def seen_in(path: Path, *logs: Path) -> dict[str, Any]:
    said = "\n".join(log.read_text(errors="replace") for log in logs if log.exists())
    assert path.exists(), said
    seen = json.loads(path.read_text())
    assert "failed" not in seen, f"{seen}\n{said}"
    return seen


def check(seen: dict[str, Any]) -> None:
    """What a user may expect of either service."""
    assert seen["install"]["rc"] == 0, seen["install"]
    started, killed, restarted, stopped = (seen[name] for name in ("started", "engine_killed", "restarted", "stopped"))
    assert (started["ActiveState"], started["SubState"]) == ("active", "running")
    assert "engine ready" in started["StatusText"]
    assert seen["status_command"]["rc"] == 0
    assert "active (running)" in seen["status_command"]["out"]
    assert (killed["MainPID"], killed["NRestarts"]) == (started["MainPID"], "0"), "the daemon outlives its engine"
    assert seen["reloaded"]["ActiveState"] == "active"
    assert restarted["MainPID"] != started["MainPID"], "the watchdog has started it again"
    assert (stopped["ActiveState"], stopped["Result"], stopped["ExecMainStatus"]) == ("inactive", "success", "0")
    assert seen["uninstall"]["rc"] == 0, seen["uninstall"]
    assert seen["gone"] == "not-found"


def test_a_users_service_survives_its_engine_and_is_restarted_when_it_hangs(tmp_path: Path) -> None:
    needs("systemctl")
    port, home = str(free_port()), tmp_path / "home"
    for path, text in {
        ".config/driftcam/config.toml": CONFIG.replace("PORT", port) + STAND_IN,
        ".config/systemd/user/driftcam.service.d/test.conf": DROP_IN.replace("SOURCES", str(ROOT)),
    }.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    inside = ["unshare", "-m", "--propagation", "private", "--pid", "--fork", "--mount-proc", HERE / "user.sh"]
    scenario = [sys.executable, HERE / "scenario.py", "--user", program(), port, tmp_path / "seen"]
    run(*inside, tmp_path, *scenario, log=tmp_path / "log")
    check(seen_in(tmp_path / "seen", tmp_path / "log", tmp_path / "manager.log"))


def test_a_hardened_machine_service_does_so_too_and_the_journal_tells(tmp_path: Path) -> None:
    """With the embedded model, whose compilers and threads must bear the hardening."""
    needs("systemd-nspawn", "/usr/bin/python3")
    version = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True).stdout.split()[-1]
    if version.split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
        pytest.skip(f"the packages here are not for the distribution's Python {version}")
    out, port = tmp_path / "out", "8900"
    out.mkdir()
    machine = MACHINE.replace("PORT", port).replace("DRIFTCAM", "/opt/driftcam/bin/driftcam")
    (tmp_path / "test.service").write_text(machine)
    (out / "config.toml").write_text(CONFIG.replace("PORT", port))
    (out / "test.conf").write_text(DROP_IN.replace("SOURCES", "/opt/sources"))
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (out / "prepare.sh").write_text(PREPARE)
    command = ["unshare", "-m", "--propagation", "private", HERE / "machine.sh", tmp_path, ROOT, packages]
    run(*command, log=tmp_path / "log")
    check(seen_in(out / "seen", tmp_path / "log", out / "journal"))
    journal = [json.loads(line) for line in (out / "journal").read_text().splitlines()]
    told = {entry["MESSAGE"]: entry["PRIORITY"] for entry in journal if isinstance(entry.get("MESSAGE"), str)}
    page = next(text for text in told if text.startswith("the page is at http://127.0.0.1:8900"))
    again = next(text for text in told if "starting it again" in text)
    assert (told[page], told[again]) == ("6", "4"), "the journal knows how grave a line is"
    assert any("Watchdog timeout" in text for text in told)
