"""The plugin's end of the bus, built alone and with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.obs_plugin.peer import Peer

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "obs_plugin" / "src"
CORE = (
    *("bus_client", "bus_receive", "bus_thread", "daemon_state", "fields", "json", "json_write", "look", "samples"),
    "platform_linux",
)
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-fsanitize=thread",)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that compiles a C file of this folder with the core; each combination once."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    built: dict[tuple[str, ...], Path] = {}
    folder = tmp_path_factory.mktemp("core")

    def build(name: str, *flags: str) -> Path:
        key = (name, *flags)
        if key not in built:
            program = folder / f"{name}-{len(built)}"
            sources = [str(Path(__file__).with_name(f"{name}.c")), *(str(SOURCES / f"{part}.c") for part in CORE)]
            command = ["gcc", "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fwrapv", *flags, *sources]
            subprocess.run([*command, "-o", str(program), "-lm", "-lpthread"], check=True)
            built[key] = program
        return built[key]

    return build


@dataclass(frozen=True)
class Status:
    """As `bus_client_status` says, and what was heard."""

    state: int
    width: int
    height: int
    sent: int
    dropped: int
    results: int
    skipped: int
    connections: int
    attempts: int
    outstanding: int
    server: str
    trouble: str
    style: str
    styles: int
    presets: int
    replies: int
    errors: int
    events: int
    works: int

    @property
    def connected(self) -> bool:
        """There is a connection."""
        return self.state == 2


class Harness:
    """The program `harness` and its lines."""

    def __init__(self, program: Path, role: str, path: Path, name: str, wrapper: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            [*wrapper, str(program), role, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str) -> str:
        """Its answer to `line`."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._process.stderr.read() if self._process.stderr else ""
        return answer.strip()

    def status(self) -> Status:
        """Its state."""
        numbers, server, trouble, style, styles, presets, counts = self.say("status").split("|")
        heard = (int(n) for n in counts.split())
        return Status(*(int(n) for n in numbers.split()), server, trouble, style, int(styles), int(presets), *heard)

    def end(self) -> None:
        """It must end well, without a word from the sanitizers."""
        _, errors = self._process.communicate(timeout=60)
        assert (self._process.returncode, errors) == (0, "")

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """A daemon's end."""
    peer = Peer(tmp_path / "bus.sock")
    yield peer
    peer.close()


@pytest.fixture
def start(build: Callable[..., Path], peer: Peer) -> Iterator[Callable[..., Harness]]:
    """A function that starts the harness towards `peer`; all of them must end well."""
    started: list[Harness] = []

    def start(
        role: str = "filter",
        flags: tuple[str, ...] = ADDRESS,
        wrapper: tuple[str, ...] = (),
        name: str = "harness",
    ) -> Harness:
        started.append(Harness(build("harness", *flags), role, peer.path, name, wrapper))
        return started[-1]

    yield start
    try:
        for harness in started:
            harness.end()
    finally:
        for harness in started:
            harness.kill()
