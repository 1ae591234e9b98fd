"""What a service goes through, under a real systemd; prints what was seen as JSON. Standard library only.

scenario.py --user|--system DRIFTCAM PORT
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNIT = "driftcam.service"
PATIENCE = 120.0


class Scenario:
    def __init__(self, scope: str, driftcam: str, port: int) -> None:
        self._driftcam, self._url = driftcam, f"http://127.0.0.1:{port}"
        self._system = scope == "--system"
        self._scope = [] if self._system else ["--user"]
        self.seen: dict[str, Any] = {}

    def play(self) -> None:
        self.seen["install"] = self.driftcam("service", "install", *(["--system"] if self._system else []))
        self.until(lambda: self.api("/readyz")["ok"])
        self.until(lambda: "engine ready" in self.show()["StatusText"])
        self.seen["started"] = started = self.show()
        self.seen["status_command"] = self.driftcam("service", "status", *(["--system"] if self._system else []))
        self.kill_engine(started)
        self.reload()
        self.stop_the_daemon(started)
        self.systemctl("stop", UNIT)
        self.seen["stopped"] = self.show()
        self.seen["uninstall"] = self.driftcam("service", "uninstall", *(["--system"] if self._system else []))
        self.seen["gone"] = self.show()["LoadState"]

    def kill_engine(self, started: dict[str, str]) -> None:
        pid = self.api("/api/engine")["pid"]
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: self.api("/api/engine")["restarts"] == 1 and self.api("/readyz")["ok"])
        delivered = self.api("/api/state")["delivered"]
        self.until(lambda: self.api("/api/state")["delivered"] > delivered)
        self.seen["engine_killed"] = self.show()
        assert self.api("/api/engine")["pid"] != pid

    def reload(self) -> None:
        self.systemctl("reload", UNIT)
        self.until(lambda: any("read again" in line["text"] for line in self.api("/api/logs?lines=200")))
        self.seen["reloaded"] = self.show()

    def stop_the_daemon(self, started: dict[str, str]) -> None:
        os.kill(int(started["MainPID"]), signal.SIGSTOP)
        self.until(lambda: self.show()["NRestarts"] == "1" and self.show()["ActiveState"] == "active")
        self.until(lambda: self.api("/readyz")["ok"])
        self.seen["restarted"] = self.show()

    def show(self) -> dict[str, str]:
        names = "ActiveState,SubState,MainPID,NRestarts,StatusText,Result,ExecMainStatus,LoadState"
        told = subprocess.run(["systemctl", *self._scope, "show", UNIT, "-p", names], capture_output=True, text=True)
        return dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)

    def api(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=5) as answer:
            return json.load(answer)

    def driftcam(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run([self._driftcam, *arguments], capture_output=True, text=True, timeout=PATIENCE)
        return {"rc": done.returncode, "out": done.stdout, "err": done.stderr}

    def systemctl(self, *arguments: str) -> None:
        subprocess.run(["systemctl", *self._scope, *arguments], check=True, timeout=PATIENCE)

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError, KeyError, ValueError):
                if condition():
                    return
            time.sleep(0.1)
        raise TimeoutError(f"nothing came of it; {self.show()}")


def main(arguments: list[str]) -> None:
    scope, driftcam, port, out = arguments
    scenario = Scenario(scope, driftcam, int(port))
    try:
        scenario.play()
    except Exception as error:
        scenario.seen["failed"] = repr(error)
    Path(out).write_text(json.dumps(scenario.seen))


if __name__ == "__main__":
    main(sys.argv[1:])
