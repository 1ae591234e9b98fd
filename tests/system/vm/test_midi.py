"""A controller at a real ALSA sequencer: virtual ports of the kernel, seen by the daemon as any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import standin
from tests.system.vm.conftest import ROOT, until

URL = "http://127.0.0.1:8900"
CONFIG = f"""
[engine]
implementation = "{standin.NAME}"
[live]
source = "test"
size = "128x64"
[live.parameters]
strength = 0.5
[midi]
ports = ["faders"]
[midi.map]
"cc 7" = "strength"
"note 36" = "bypass"
"program 3" = "preset night"
"""


def ask(path: str, method: str = "GET", body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, method=method), timeout=60) as answer:
        return json.loads(answer.read() or b"null")


class Faders:
    """A controller with a port in each direction."""

    def __init__(self) -> None:
        import mido

        self._message = mido.Message
        backend = mido.Backend("mido.backends.rtmidi/LINUX_ALSA")
        self._out = backend.open_output("out", virtual=True, client_name="faders")
        self._in = backend.open_input("in", virtual=True, client_name="faders")

    def move(self, kind: str, **values: int) -> None:
        self._out.send(self._message(kind, **values))

    def told(self) -> list[tuple]:
        return [(message.control, message.value) for message in self._in.iter_pending() if message.type[0] == "c"]

    def unplug(self) -> None:
        self._out.close()
        self._in.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """Its log."""
    folder, log = tmp_path / ".config" / "driftcam", tmp_path / "log"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIG)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{ROOT}"}
    command = "from driftcam.daemon.cli import main; raise SystemExit(main())"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", command, "serve"], stderr=file, cwd=ROOT, env=environment)
    try:
        until(lambda: "the page is at" in log.read_text(), "the daemon is there")
        yield log
    finally:
        process.terminate()
        print(log.read_text())
        process.wait(60)


def test_a_controller_moves_what_it_is_for_follows_and_may_come_and_go(daemon: Path) -> None:
    faders = Faders()
    until(lambda: "listening to faders" in daemon.read_text(), "the port that came later is found")
    until(lambda: (7, 64) in faders.told(), "the motor goes to where the value is")

    def strength() -> float:
        return ask("/api/state")["parameters"]["strength"]

    faders.move("control_change", control=7, value=127)
    until(lambda: strength() == 1.0, "the fader moves the strength")
    faders.move("control_change", control=7, value=0, channel=4)
    until(lambda: strength() == 0.0, "of any channel")
    ask("/api/presets/night", "PUT")
    faders.move("note_on", note=36, velocity=100)
    until(lambda: ask("/api/state")["bypass"], "a key shows the untouched picture")
    faders.move("note_off", note=36)
    faders.move("note_on", note=36, velocity=100)
    until(lambda: not ask("/api/state")["bypass"], "and the painting")
    assert (7, 127) not in faders.told(), "what came from the fader went back to it"

    ask("/api/parameters", "PATCH", {"strength": 0.25})
    until(lambda: (7, 32) in faders.told(), "the motor follows what others change")
    faders.move("program_change", program=3)
    until(lambda: strength() == 0.0, "a program change loads a look")

    ask("/api/midi/learn", "POST", {"target": "memory"})
    faders.move("control_change", control=20, value=127)
    until(lambda: ask("/api/midi")["map"].get("cc 20 channel 1") == "memory", "a control is learned")
    faders.unplug()
    until(lambda: "has gone; it is waited for" in daemon.read_text(), "its end is noticed")
    ask("/api/parameters", "PATCH", {"strength": 0.75})
    faders = Faders()
    until(lambda: (7, 95) in faders.told(), "it is told anew when it is back")
    faders.move("control_change", control=20, value=0)
    until(lambda: ask("/api/state")["parameters"]["memory"] == 0.0, "what was learned is still known")
