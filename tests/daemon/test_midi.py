"""What MIDI messages mean, and the words where this machine has no MIDI. Real ports: `tests/system/vm/test_midi.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from driftcam.daemon.errors import RunError
from driftcam.daemon.midi.ports import SEQUENCER, Ports, control_of
from driftcam.daemon.midi_message import Control, number_of, parse_map, scaled
from driftcam.engines.api import TABLE, ParameterError
from tests.daemon.http_daemon import daemon_in
from tests.daemon.test_serve import CONFIG, serving

mido = pytest.importorskip("mido", reason="driftcam[midi] is not installed")


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ("cc 7", Control("cc", 7)),
        ("Note 36 channel 10", Control("note", 36, 10)),
        ("program 0", Control("program", 0)),
    ],
)
def test_controls_are_written_as_they_are_read(text: str, control: Control) -> None:
    assert parse_map({text: "strength"}) == {control: "strength"}
    assert str(control) == text.lower()


@pytest.mark.parametrize(
    ("control", "target", "words"),
    [
        ("cc 128", "strength", "a number to 127"),
        ("cc 7 channel 17", "strength", "perhaps: channel 1"),
        ("fader 7", "strength", "write cc, note or program"),
        ("cc 7", "strenth", "did you mean strength"),
        ("cc 7", "style_vector", "or write preset NAME"),
        ("cc 7", "preset ", "or write preset NAME"),
    ],
)
def test_a_mistake_in_the_map_is_explained(control: str, target: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        parse_map({control: target})


@pytest.mark.parametrize(
    ("data", "control", "value"),
    [
        ((0xB9, 7, 64), Control("cc", 7, 10), 64),
        ((0x90, 36, 1), Control("note", 36, 1), 127),
        ((0x90, 36, 0), Control("note", 36, 1), 0),
        ((0x80, 36, 64), Control("note", 36, 1), 0),
        ((0xC0, 3), Control("program", 3, 1), 127),
    ],
)
def test_messages_are_read_as_the_standard_has_them(data: tuple, control: Control, value: int) -> None:
    assert control_of(mido.Message.from_bytes(data)) == (control, value)


def test_what_no_control_sends_is_passed_over() -> None:
    assert all(control_of(mido.Message(kind)) is None for kind in ("clock", "pitchwheel", "active_sensing", "sysex"))


@pytest.mark.parametrize("name", ["strength", "steps", "guidance_scale", "noise", "fit", "guidance"])
def test_seven_bits_reach_the_whole_range_and_come_back_as_they_were(name: str) -> None:
    field = TABLE[name]
    ends = [scaled(field, 0), scaled(field, 127)]
    choices = field.to_dict()["choices"]
    assert ends == ([choices[0], choices[-1]] if choices else [field.to_dict()["low"], field.to_dict()["high"]])
    for value in range(128):
        there = field.check(scaled(field, value))
        assert scaled(field, number_of(field, there)) == there


async def test_where_nobody_listens_the_api_says_what_to_write(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, daemon.client() as client:
        for asked in (client.get("/api/midi"), client.post("/api/midi/learn", json={"target": "strength"})):
            answer = await asked
            assert answer.status == 404 and "[midi] ports" in (await answer.json())["message"]


def test_without_the_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtmidi", None)
    with pytest.raises(RunError, match=r"pip install 'driftcam\[midi\]'"):
        Ports(["faders"], lambda port, message: None)


@pytest.mark.skipif(SEQUENCER.exists(), reason="this machine has MIDI")
def test_a_machine_without_the_sequencer_is_told_what_to_load_and_the_stream_goes_on(tmp_path: Path) -> None:
    config = f'{CONFIG}\n[midi]\nports = ["faders"]\n[midi.map]\n"cc 7" = "strength"\n'
    with serving(tmp_path, config) as served:
        served.until(lambda: "sudo modprobe snd-seq" in served.log)
        said = served.ctl("midi", "list")
        assert "cc 7       strength" in said.stdout and "modprobe" in said.stdout
        for arguments, words in (("learn strenth", "did you mean"), ("forget cc 9", "nothing was learned")):
            refused = served.ctl("midi", *arguments.split())
            assert refused.returncode != 0 and words in refused.stderr
        assert served.ctl("midi", "learn", "preset", "night").returncode == 0
        assert json.loads(served.get("/api/midi"))["learning"] == "preset night"
        delivered = served.state()["delivered"]
        served.until(lambda: served.state()["delivered"] > delivered)
