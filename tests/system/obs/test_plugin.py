"""The plugin in a real OBS, with nobody at the other end of the bus."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from driftcam.engines.api.parameters import TABLE
from tests.obs_plugin.peer import Peer
from tests.system.obs.rig import ROOT, Obs, poll
from tests.system.obs.scenes import add_colour, add_filter

pytestmark = pytest.mark.serial


def test_without_a_daemon_the_source_is_shown_and_the_reason_is_told(obs: Obs, scene: str) -> None:
    add_colour(obs, scene, "red", (255, 0, 0))
    add_filter(obs, "red")
    stream = poll(lambda: (s := obs.stream("red"))["attempts"] > 1 and s, "a second attempt to connect")
    assert stream["state"] == "connecting"
    assert stream["trouble"] == "the daemon is not running"
    assert obs.colour("red") == (255, 0, 0, 255)
    assert obs.colour(scene)[:3] == (255, 0, 0)


def test_an_output_without_a_daemon_is_transparent(obs: Obs, scene: str) -> None:
    add_colour(obs, scene, "green", (0, 255, 0))
    obs.remote.call("CreateInput", sceneName=scene, inputName="out", inputKind="driftcam_output", inputSettings={})
    poll(lambda: obs.stream("out")["attempts"] > 0, "an attempt to connect")
    assert obs.colour(scene)[:3] == (0, 255, 0)


def test_the_button_reconnects_at_once(obs: Obs, scene: str) -> None:
    obs.remote.call("CreateInput", sceneName=scene, inputName="out", inputKind="driftcam_output", inputSettings={})
    poll(lambda: obs.stream("out")["attempts"] >= 5, "attempts that are seconds apart")
    peer = Peer(obs.home / "runtime" / "driftcam" / "bus.sock")
    try:
        obs.remote.call("PressInputPropertiesButton", inputName="out", propertyName="reconnect")
        poll(lambda: obs.stream("out")["state"] == "connected", "the connection", 3.0)
        obs.remote.call("PressInputPropertiesButton", inputName="out", propertyName="refresh")
    finally:
        peer.close()


def keys(file: Path) -> set[str]:
    return set(re.findall(r"^([\w.]+)=\".+\"$", file.read_text(), re.MULTILINE))


@pytest.mark.parametrize("language", ["de-DE", "ja-JP", "zh-CN"])
def test_every_text_is_translated(language: str) -> None:
    folder = ROOT / "obs_plugin" / "data" / "locale"
    english = keys(folder / "en-US.ini")
    assert len(english) == len((folder / "en-US.ini").read_text().splitlines())
    assert keys(folder / f"{language}.ini") == english


def test_every_text_of_the_program_is_there() -> None:
    folder = ROOT / "obs_plugin"
    source = "".join(file.read_text() for file in sorted((folder / "src").glob("*.c")))
    used = set(re.findall(r"obs_module_text\(\"([\w.]+)\"\)", source)) | set(re.findall(r"\"(\w+\.\w*Help)\"", source))
    used |= {f"Status.{state}" for state in re.findall(r"\"(resting|connecting|connected|silent)\"", source)}
    # A parameter of the table has a text of its own where the daemon's is translated.
    names = ["".join(part.capitalize() for part in name.split("_")) for name in TABLE]
    parameters = {name + end for name in names for end in ("", ".Help")}
    there = keys(folder / "data" / "locale" / "en-US.ini")
    assert used <= there and there - used <= parameters
    assert {"Strength", "Freedom.Help", "Steps"} <= there
