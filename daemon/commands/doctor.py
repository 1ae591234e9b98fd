"""`driftcam doctor`: what this machine has, what will be used and why, and what to do about what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from driftcam.daemon import terminal
from driftcam.daemon.arguments import Parser
from driftcam.daemon.config.folders import home_folder
from driftcam.engines.api import ParameterError
from driftcam.engines.api.findings import Finding

MARKS = {"good": "✓", "absent": "–", "bad": "✗"}
PLAIN = {"good": "+", "absent": "-", "bad": "!"}  # where a terminal has no letters for those
_PATIENCE = 1800.0  # s; a self-test builds engines


def doctor(arguments: Sequence[str]) -> int:
    """Print the report; returns 1 where something is bad, else 0."""
    parser = Parser(prog="driftcam doctor", description="Look at this machine.")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--full", "--gpu", action="store_true", help="try every backend: build, run, compare, time")
    options = parser.parse_args(arguments)
    findings = [*engine_findings(options.full), virtual_camera(), obs(), systemd()]
    bad = any(finding.state == "bad" for finding in findings)
    if options.json:
        print(json.dumps({"ok": not bad, "findings": [finding.to_dict() for finding in findings]}, indent=1))
    else:
        plain = not terminal.speaks("✓–✗→", sys.stdout)
        print(table(findings, PLAIN if plain else MARKS, "->" if plain else "→"))
    return int(bad)


def table(findings: Sequence[Finding], marks: Mapping[str, str] = MARKS, arrow: str = "→") -> str:
    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.state]} {finding.what:<{width}}  {finding.detail}")
        if finding.advice:
            lines.append(f"  {'':<{width}}  {arrow} {finding.advice}")
    return "\n".join(lines)


def engine_findings(
    full: bool, command: Sequence[str] = (sys.executable, "-P", "-m", "driftcam.engines.doctor")
) -> list[Finding]:
    """From the engine's room, by a process of its own: a library that crashes there is a finding like others."""
    order = [*command, *(["--try"] if full else [])]
    try:
        done = subprocess.run(order, capture_output=True, text=True, timeout=_PATIENCE)
        return [Finding.from_dict(values) for values in json.loads(done.stdout.splitlines()[-1])]
    except subprocess.TimeoutExpired:
        return [Finding("engine", "bad", f"no answer for {_PATIENCE / 60:.0f} minutes")]
    except (IndexError, ValueError, KeyError, TypeError):
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        return [Finding("engine", "bad", f"its own look at the machine failed: {last[0]} (status {done.returncode})")]


def virtual_camera() -> Finding:
    from driftcam.daemon.sinks.virtualcam import find_device

    if sys.platform != "linux":
        return Finding("virtual camera", "absent", "only on Linux so far")
    try:
        device = find_device(None)
    except ParameterError as error:
        first, *rest = error.advice.splitlines()
        return Finding("virtual camera", "absent", first, "; ".join(line.strip() for line in rest[:2]))
    if not os.access(device, os.W_OK):
        return Finding("virtual camera", "bad", f"{device} cannot be written", "join the group video and log in again")
    return Finding("virtual camera", "good", device)


def obs(home: Path | None = None) -> Finding:
    """OBS Studio and our plugin in it."""
    program = shutil.which("obs")
    if program is None:
        return Finding("OBS", "absent", "not installed")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or (home or home_folder()) / ".config")
    folders = (config / "obs-studio" / "plugins", Path("/usr/lib"), Path("/usr/local/lib"))
    found = [path for folder in folders for path in folder.glob("**/driftcam*.so")][:1]
    return Finding("OBS", "good", f"{program}, plugin {found[0] if found else 'not installed'}")


def systemd() -> Finding:
    """Whether the user's services can be asked, and what ours does."""
    if not Path("/run/systemd/system").exists() or shutil.which("systemctl") is None:
        return Finding("systemd", "absent", "not running on this machine")
    asked = subprocess.run(["systemctl", "--user", "is-active", "driftcam"], capture_output=True, text=True, timeout=10)
    return Finding("systemd", "good", f"user service driftcam: {asked.stdout.strip() or 'no answer'}")
