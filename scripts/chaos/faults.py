"""What is done to the daemon. Each fault leaves it able to go on; the seeded random source decides the details."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from driftcam.engines.api import ParameterError
from driftcam.engines.api.bus import Message, MessageType, encode
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.parameters import GUIDANCE_MODES, NOISE_MODES
from driftcam.engines.api.styles import STYLE_NAMES
from scripts.chaos.victim import PYTHONPATH, Victim

SMALL_DISK_MB = 1


class Skipped(Exception):
    """It cannot be done here; the text says why."""


def engine_killed(victim: Victim, rng: random.Random) -> float:
    """The engine dies; seconds until a result of the next one."""
    return _lost(victim, rng.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))


def engine_stopped(victim: Victim, rng: random.Random) -> None:
    """The engine hangs; the daemon must notice by itself."""
    _lost(victim, signal.SIGSTOP)


def _lost(victim: Victim, number: signal.Signals) -> float:
    pid = _signalled(victim, number)
    start = time.monotonic()
    victim.until(lambda: victim.engine_pid() not in (None, pid), "another engine", 120)
    victim.delivers()
    return time.monotonic() - start


def _signalled(victim: Victim, number: signal.Signals) -> int:
    """Signal the engine; its pid. One that just ended is followed by another."""
    while True:
        victim.until(lambda: victim.engine_pid() is not None, "an engine")
        if (pid := victim.engine_pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                return pid


def restart_asked_for(victim: Victim, rng: random.Random) -> None:
    """Somebody is impatient."""
    for _ in range(rng.randint(1, 3)):
        assert victim.ask("POST", "/api/engine/restart")[0] == 202


def bus_client_killed(victim: Victim, rng: random.Random) -> None:
    """A client dies in the middle of a message, with slots in its hands."""
    code = (
        "import sys, time, numpy as np\n"
        "from pathlib import Path\n"
        "from driftcam.engines.api.bus_client import BusClient\n"
        "bus = BusClient('filter', session='victim', path=Path(sys.argv[1]))\n"
        "for _ in range(3): bus.send(np.zeros((*bus.size[::-1], 3), np.uint8))\n"
        "bus._socket.sendall(bytes.fromhex(sys.argv[2]))\n"
        "print(flush=True); time.sleep(60)\n"
    )
    data = encode(Message(MessageType.PARAMETERS, sequence=9, body={"strength": 0.5}))
    half = data[: rng.randrange(1, len(data))].hex()
    environ = os.environ | {"PYTHONPATH": PYTHONPATH}
    command = [sys.executable, "-c", code, str(victim.bus), half]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.kill()


def bus_guest(victim: Victim, rng: random.Random) -> None:
    """A program opens a session of its own, gives a few frames, and leaves."""
    name, pictures = f"guest-{rng.randrange(3)}", np.random.default_rng(rng.randrange(99))
    with (
        contextlib.suppress(ParameterError, OSError),  # the machine may be full, the engine away
        BusClient("filter", session=name, path=victim.bus, timeout=5) as bus,
    ):
        image = pictures.integers(0, 256, (*bus.size[::-1], 3), np.uint8)
        for _ in range(rng.randrange(10)):
            bus.send(image)
            with contextlib.suppress(TimeoutError):
                bus.receive(timeout=0.2)


def garbage_on_sockets(victim: Victim, rng: random.Random) -> None:
    """Bytes that mean nothing, on the bus and on the page."""
    for address in (str(victim.bus), ("127.0.0.1", victim.port)):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(family) as sock, contextlib.suppress(OSError):
            sock.settimeout(5)
            sock.connect(address)
            start = rng.choice([b"", b"DRFC\x01\x00", b"GET / HTTP/1.1\r\n", b"PATCH /api/parameters HTTP/1.1\r\n"])
            sock.sendall(start + rng.randbytes(rng.randrange(2000)))
            if rng.random() < 0.5:
                sock.recv(100)


def source_unplugged(victim: Victim, rng: random.Random) -> None:
    """The source goes away for a while and comes back."""
    victim.write_config(source=rng.choice(["clip:/nowhere/clip.mp4", "webcam:99"]))
    victim.process.send_signal(signal.SIGHUP)
    time.sleep(rng.uniform(0.5, 3))
    victim.write_config()
    victim.process.send_signal(signal.SIGHUP)
    victim.delivers()


def config_broken(victim: Victim, rng: random.Random) -> None:
    """A configuration that cannot be read is put in place and taken back."""
    victim.write_config(garbage=rng.choice(["[live]\n", "nonsense\n", "[engine]\nanswer = -1\n", "\0", "[x]\ny = 1\n"]))
    victim.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    victim.delivers()
    victim.write_config()
    victim.process.send_signal(signal.SIGHUP)


def recorded(victim: Victim, rng: random.Random) -> None:
    """A recording, perhaps over other faults."""
    status, _ = victim.ask("POST", "/api/recording")
    assert status in (201, 409, 422), status
    time.sleep(rng.uniform(0.3, 2))
    status, _ = victim.ask("DELETE", "/api/recording")
    assert status < 500 or status == 503, status


def disk_filled(victim: Victim, rng: random.Random) -> None:
    """A recording on a disk that is full after a moment."""
    if os.geteuid() != 0:
        raise Skipped("only root may mount a small disk")
    folder = victim.recordings
    options = ["-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "chaos", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        raise Skipped("a small disk cannot be mounted here")
    try:
        (folder / "ballast").write_bytes(bytes(SMALL_DISK_MB * 2**20 - rng.randrange(20_000, 200_000)))
        victim.ask("POST", "/api/recording")
        time.sleep(rng.uniform(1, 2))
        victim.ask("DELETE", "/api/recording")
        victim.delivers()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def clock_stepped(victim: Victim, rng: random.Random) -> None:
    """The machine's time of day jumps."""
    if not victim.clock_can_step:
        raise Skipped("there is no C compiler here")
    victim.step_clock(rng.choice([-86_400, -60, 0, 3600, 10**7]))
    victim.delivers()


FAULTS: dict[Callable[[Victim, random.Random], float | None], int] = {
    engine_killed: 4,
    engine_stopped: 1,
    restart_asked_for: 1,
    bus_client_killed: 3,
    bus_guest: 3,
    garbage_on_sockets: 5,
    source_unplugged: 2,
    config_broken: 2,
    recorded: 3,
    disk_filled: 1,
    clock_stepped: 2,
}
"""With how often each comes, in proportion."""


def random_change(rng: random.Random) -> dict[str, object]:
    """A change of parameters, sensible or not."""
    values: dict[str, Callable[[], object]] = {
        "strength": lambda: rng.choice([rng.random(), 7, -1, "loud", None]),
        "freedom": lambda: rng.choice([rng.random(), [], 1e300]),
        "steps": lambda: rng.choice([1, 2, 0, 9, 1.5]),
        "guidance": lambda: rng.choice([*GUIDANCE_MODES, "none at all"]),
        "guidance_scale": lambda: rng.choice([1, 1.5, 21]),
        "noise": lambda: rng.choice([*NOISE_MODES, 3]),
        "seed": lambda: rng.choice([0, 1, 2, -1, 2**63]),
        "styles": lambda: [[rng.choice(STYLE_NAMES), rng.random() + 0.01] for _ in range(rng.randint(0, 3))],
        "prompt": lambda: rng.choice(["a great wave", "zzzz", "", "x" * 2000]),
        "similarity_threshold": lambda: rng.choice([0, 0.98, 2]),
        "refresh": lambda: rng.random(),
        "width": lambda: rng.choice([128, 96, 5000, 129]) if rng.random() < 0.1 else 128,
        "nonsense": lambda: rng.random(),
    }
    weights = [1 if name == "nonsense" else 3 for name in values]
    return {name: values[name]() for name in rng.choices(list(values), weights, k=rng.choice([1, 1, 1, 2, 3]))}
