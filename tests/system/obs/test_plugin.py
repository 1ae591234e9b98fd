"""The plugin in a real OBS, with nobody at the other end of the bus."""

from __future__ import annotations

from tests.system.obs.rig import Obs, poll
from tests.system.obs.scenes import add_colour, add_filter


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
