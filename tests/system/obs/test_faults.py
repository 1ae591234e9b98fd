"""What a daemon that fails does to OBS: nothing but an old or an original picture, until it is well again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.obs_plugin import peer as peers
from tests.obs_plugin import test_bus_client as faults
from tests.obs_plugin.peer import Client, Peer
from tests.system.obs.rig import Obs, poll, renders_on
from tests.system.obs.scenes import FILTER, add_colour, add_filter, set_colour

pytestmark = pytest.mark.serial

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def peer(obs: Obs) -> Iterator[Peer]:
    peer = Peer(obs.home / "runtime" / "driftcam" / "bus.sock")
    yield peer
    peer.close()


def shows(obs: Obs, source: str, rgb: tuple[int, int, int]) -> None:
    poll(lambda: max(abs(a - b) for a, b in zip(obs.colour(source), rgb, strict=False)) < 4, f"{source} in {rgb}")


@pytest.mark.parametrize(
    "fault",
    [
        faults.wrong_version,
        faults.shrinking,
        faults.unsealed,
        faults.too_small,
        faults.picture_beyond_slot,
        faults.refusal,
        faults.slot_never_given,
        lambda client: client.send(b"\xff\x00garbage" * 1000),
        lambda client: client.close(),
    ],
)
def test_a_broken_daemon_is_survived_and_a_good_one_found(
    obs: Obs, scene: str, peer: Peer, fault: Callable[[Client], None]
) -> None:
    peer.welcome = fault
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    poll(lambda: obs.stream("source")["attempts"] >= 2, "a second attempt")
    assert obs.colour("source")[:3] == RED, "the original before the first result"
    renders_on(obs, 0.3)
    peer.welcome = peers.welcome
    shows(obs, "source", BLUE)


def test_a_daemon_that_goes_mid_stream_leaves_its_last_picture(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    path = peer.path
    peer.close()
    poll(lambda: obs.stream("source")["state"] == "connecting", "the end of the connection")
    set_colour(obs, "source", GREEN)
    renders_on(obs, 0.5)
    assert obs.colour("source")[:3] == BLUE, "the last result is held"
    again = Peer(path)
    try:
        shows(obs, "source", GREEN)
    finally:
        again.close()


def test_garbage_mid_stream_is_survived(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    good = peer.on_frame
    count = 0

    def sometimes_bad(client: Client, message: object) -> None:
        nonlocal count
        count += 1
        if count % 5 == 0:
            client.send(bytes(range(256)))
        else:
            good(client, message)  # type: ignore[arg-type]

    peer.on_frame = sometimes_bad
    poll(lambda: obs.stream("source")["connections"] >= 4, "connections that end and begin")
    renders_on(obs, 0.3)
    peer.on_frame = good
    set_colour(obs, "source", GREEN)
    shows(obs, "source", GREEN)


def test_500_times_added_removed_hidden_and_resized(obs: Obs, scene: str, peer: Peer) -> None:
    item = add_colour(obs, scene, "source", RED)
    call = obs.remote.call
    for number in range(500):
        add_filter(obs, "source", style="swap")
        match number % 5:
            case 0:
                size = 40 + number % 300
                call("SetInputSettings", inputName="source", inputSettings={"width": size, "height": 300})
            case 1:
                call("SetSceneItemEnabled", sceneName=scene, sceneItemId=item, sceneItemEnabled=number % 2 == 0)
            case 2:
                call("SetSourceFilterEnabled", sourceName="source", filterName=FILTER, filterEnabled=False)
            case 3:
                obs.picture("source", 64, 36)
            case 4:
                time.sleep(0.02)  # long enough for a connection and a frame
        call("RemoveSourceFilter", sourceName="source", filterName=FILTER)
    call("SetSceneItemEnabled", sceneName=scene, sceneItemId=item, sceneItemEnabled=True)
    call("SetInputSettings", inputName="source", inputSettings={"width": 640, "height": 360})
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    poll(lambda: len(peer.living) == 1, "the end of all other connections")
    assert peer.troubles == []
