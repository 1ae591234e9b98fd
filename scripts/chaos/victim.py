"""The daemon that has to endure it: `driftcam serve` in a home of its own, and what can be seen of it from outside."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT / "src"), str(ROOT)])  # ROOT: for engines of the tests


@dataclass(frozen=True)
class Load:
    """What a process holds."""

    descriptors: int
    threads: int
    memory_mb: float


class Victim:
    """Made by `daemon_in`.

    Attributes:
        clock_can_step: whether `step_clock` works here; it needs a C compiler.
        recordings: the folder of its recordings.
    """

    def __init__(self, folder: Path, engine: str, answer: float) -> None:
        self.folder, self._engine, self._answer = folder, engine, answer
        self.recordings = folder / "recordings"
        self.recordings.mkdir()
        (folder / "run").mkdir(mode=0o700)
        self.bus = folder / "run" / "driftcam" / "bus.sock"
        self.port = _free_port()
        self._config = folder / "config.toml"
        self.write_config()
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DRIFTCAM_"))}
        environ |= {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": PYTHONPATH}
        environ["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        self._clock = folder / "clock"
        self._clock.write_bytes(bytes(8))
        self.clock_can_step = _build_clock(folder / "clock.so")
        if self.clock_can_step:
            environ |= {"LD_PRELOAD": str(folder / "clock.so"), "CHAOS_CLOCK": str(self._clock)}
        command = [sys.executable, "-c", "from driftcam.daemon.cli import main; raise SystemExit(main())", "serve"]
        self._log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [*command, "--config", str(self._config)], env=environ, cwd=ROOT, stdout=self._log, stderr=self._log
        )

    def write_config(self, source: str = "test", garbage: str = "") -> None:
        """For the next start or reload; put in place at once, as it may be read at any moment."""
        engine = f'implementation = "{self._engine}"\n' if self._engine else ""
        beside = self._config.with_suffix(".new")
        beside.write_text(
            f'[server]\nlisten = "127.0.0.1:{self.port}"\nrequests_per_second = 1000\n'
            f"[engine]\n{engine}answer = {self._answer}\n[sessions]\nmost = 3\nleast_fps = 0\n"
            f'[live]\nsource = "{source}"\nsize = "128x96"\n[live.parameters]\nsteps = 1\n'
            f'[recording]\nfolder = "{self.recordings}"\n{garbage}'
        )
        beside.replace(self._config)

    def step_clock(self, seconds: int) -> None:
        """Its time of day is so many seconds from the machine's."""
        with self._clock.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, "little", signed=True))

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of a request. Raises `OSError` where the daemon does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith((b"{", b"[")) else text
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from None
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        return self.ask("GET", "/api/state")[1]

    def engine_pid(self) -> int | None:
        return self.ask("GET", "/api/engine")[1]["pid"]

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 90.0) -> None:
        """Fails when it dies or `timeout` seconds pass."""
        end = time.monotonic() + timeout
        while not condition():
            self.check_alive()
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout:g} s: {what}\n{self.last_words()}")
            time.sleep(0.05)

    def delivers(self, timeout: float = 90.0) -> None:
        """Wait for further results."""
        before = self.state()["delivered"]
        self.until(lambda: self.state()["delivered"] > before, "a further result", timeout)

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon died with {self.process.returncode}\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-30:])

    def tracebacks(self) -> int:
        return (self.folder / "log").read_text(errors="replace").count("Traceback (most recent call last)")

    def load(self) -> Load:
        process = Path(f"/proc/{self.process.pid}")
        found = re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        descriptors, threads = (len(os.listdir(process / name)) for name in ("fd", "task"))
        return Load(descriptors, threads, int(found.group(1)) / 1024 if found else 0.0)

    def stop(self) -> int:
        """Its exit status after SIGTERM."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


@contextmanager
def daemon_in(folder: Path, engine: str = "", answer: float = 5.0) -> Iterator[Victim]:
    """A daemon that delivers. `engine` as `engine.implementation`, `answer` as `engine.answer`."""
    victim = Victim(folder, engine, answer)
    try:

        def delivers() -> bool:
            try:
                return victim.state()["delivered"] > 0
            except OSError:
                return False

        victim.until(delivers, "the first result", 180)
        yield victim
    finally:
        if victim.process.poll() is None:
            victim.stop()


def _build_clock(library: Path) -> bool:
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name("clock.c"))]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
