"""Pixels through the filter and the output in a real OBS; a peer with plain colours instead of a model answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from driftcam.engines.api.bus import Message, MessageType
from tests.obs_plugin.peer import Client, Peer
from tests.system.obs.rig import CANVAS, Obs, poll
from tests.system.obs.scenes import FILTER, add_colour, add_filter, set_colour

pytestmark = pytest.mark.serial

RED, GREEN, BLUE, CYAN = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255)


@pytest.fixture
def peer(obs: Obs) -> Iterator[Peer]:
    """In the place of the daemon, whose sessions have this size at first."""
    peer = Peer(obs.home / "runtime" / "driftcam" / "bus.sock", size=(384, 384))
    yield peer
    peer.close()


def shows(obs: Obs, source: str, rgb: tuple[int, int, int], tolerance: int = 3) -> None:
    """Wait until `source` has this colour."""
    seen: list[tuple[int, ...]] = []

    def near() -> bool:
        seen.append(obs.colour(source)[:3])
        return max(abs(a - b) for a, b in zip(seen[-1], rgb, strict=True)) <= tolerance

    try:
        poll(near, f"{source} in {rgb}")
    except AssertionError:
        raise AssertionError(f"{source} is {seen[-1]}, not {rgb}; {obs.streams()}") from None


def client_of(peer: Peer, role: str = "filter") -> Client:
    """The newest connection with this role."""
    return poll(lambda: [c for c in peer.living if c.hello["role"] == role], f"a {role} on the bus")[-1]


def settings(obs: Obs, source: str) -> dict:
    """Those of the filter, as saved."""
    return obs.remote.call("GetSourceFilter", sourceName=source, filterName=FILTER)["filterSettings"]


def change(obs: Obs, source: str, **values: object) -> None:
    """As the properties dialogue does."""
    obs.remote.call("SetSourceFilterSettings", sourceName=source, filterName=FILTER, filterSettings=values)


def test_a_filter_shows_what_the_daemon_makes_and_its_settings_reach_it(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    shows(obs, scene, BLUE)
    client = client_of(peer)
    assert client.hello["format"] == "BGRA8" and client.hello["name"] == FILTER
    assert client.hello["parameters"]["styles"] == [["swap", 1.0]]
    frame = client.frames[-1]
    poll(lambda: (client.frames[-1].width, client.frames[-1].height) == (512, 288), "frames of the source's shape")
    assert (client.parameters["width"], client.parameters["height"]) == (512, 288)
    assert abs(time.monotonic_ns() - frame.pts) < 20e9, "the time of a frame is CLOCK_MONOTONIC"

    change(obs, "source", style="invert", strength=0.25)
    shows(obs, "source", CYAN)
    assert client.parameters["strength"] == 0.25
    change(obs, "source", prompt="turn the colours")
    shows(obs, "source", GREEN)
    assert obs.stream("source")["connections"] == 1


def test_a_style_changed_at_the_daemon_shows_in_the_settings_and_is_not_undone(
    obs: Obs, scene: str, peer: Peer
) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap", prompt="turn")
    shows(obs, "source", GREEN)
    client = client_of(peer)
    poll(lambda: any(r.type is MessageType.REPORT for r in client.requests), "a report")
    client.change(styles=[["invert", 1.0]], strength=0.5)
    shows(obs, "source", CYAN)
    poll(lambda: settings(obs, "source").get("style") == "invert", "the style in the settings")
    assert settings(obs, "source")["strength"] == 0.5 and settings(obs, "source")["prompt"] == ""
    requests = len(client.requests)
    time.sleep(0.3)
    assert not [r for r in client.requests[requests:] if r.type is MessageType.PARAMETERS]
    assert client.parameters["styles"] == [["invert", 1.0]]


FIELDS: list[dict] = [
    {"name": "styles", "group": "Style", "label": "Style", "kind": "styles", "default": [["swap", 1.0]]},
    {"name": "prompts", "group": "Style", "label": "In words", "kind": "prompts", "default": []},
    {"name": "negative_prompt", "group": "Style", "label": "Not this", "kind": "text", "default": "", "about": "away"},
    {
        **{"name": "strength", "group": "Look", "label": "How strong", "kind": "number", "default": 0.625},
        **{"low": 0.0, "high": 1.0, "step": 0.25, "about": "much"},
    },
    {
        **{"name": "fit", "group": "More", "label": "Fit", "kind": "choice", "default": "cover"},
        **{"choices": ["cover", "contain"], "choice_labels": ["cut off", "with borders"]},
    },
    {"name": "seed", "group": "More", "label": "Seed", "kind": "integer", "low": 0, "high": 2**63 - 1, "default": 7},
    {
        **{"name": "pull", "group": "Tracks", "label": "Pull", "kind": "number", "default": 1.5, "unit": "px"},
        **{"low": -2.0, "high": 9.0, "step": 0.5, "about": "how hard a track pulls"},
    },
    {"name": "hops", "group": "Tracks", "label": "Hops", "kind": "integer", "low": 1, "high": 5, "default": 2},
    {"name": "width", "group": "More", "label": "Width", "kind": "integer", "low": 64, "high": 512, "default": 256},
    {"name": "height", "group": "More", "label": "Height", "kind": "integer", "low": 64, "high": 512, "default": 256},
    {"name": "vector", "group": "Style", "label": "Vector", "kind": "vector", "default": None},
    {"name": "later", "group": "Look", "label": "Of no session", "kind": "number"},
]


def described(obs: Obs) -> dict[str, dict]:
    """What the dialogue of the filter shows, by name."""
    return {entry["name"]: entry for entry in obs.remote.vendor("describe", source="source")["settings"]}


def test_the_dialogue_has_what_the_daemons_table_has(obs: Obs, scene: str, peer: Peer) -> None:
    peer.fields = FIELDS
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source")
    client = client_of(peer)
    shown = poll(lambda: "pull" in (shown := described(obs)) and shown, "the table in the dialogue")
    pull = {"label": "Pull", "about": "how hard a track pulls", "kind": "number", "group": "Tracks"}
    assert shown["pull"] == {"name": "pull", "low": -2.0, "high": 9.0, "step": 0.5} | pull
    assert (shown["hops"]["low"], shown["hops"]["high"], shown["hops"]["group"]) == (1, 5, "Tracks")
    assert shown["fit"]["choices"] == [
        {"value": "cover", "label": "cut off"},
        {"value": "contain", "label": "with borders"},
    ]
    assert (shown["fit"]["group"], shown["strength"]["group"]) == ("Advanced", "")
    assert (shown["negative_prompt"]["kind"], shown["negative_prompt"]["label"]) == ("text", "Not this")
    assert (shown["strength"]["label"], shown["strength"]["step"]) == ("Strength", 0.25)  # translated where it can be
    assert (shown["detail"]["low"], shown["detail"]["high"]) == (64, 512)
    assert not {"width", "height", "vector", "styles", "prompts", "later", "freedom"} & set(shown)
    assert client.hello["parameters"] == {}, "nothing was chosen"
    poll(lambda: client.parameters["height"] == 192, "the size of the source's shape")
    changes = [request.body for request in client.requests if request.type is MessageType.PARAMETERS]
    assert not [body for body in changes if set(body) - {"width", "height"}]

    change(obs, "source", pull=3.5, negative_prompt="fog")
    poll(lambda: client.parameters["pull"] == 3.5, "a parameter that the plugin never heard of")
    assert client.requests[-1].body == {"pull": 3.5, "negative_prompt": "fog"}
    obs.remote.vendor("set", source="source", fit="contain", hops=4)
    poll(lambda: client.parameters["fit"] == "contain" and client.parameters["hops"] == 4, "those of the request")
    client.change(seed=2**62 + 1, fit="cover", width=128)
    poll(lambda: settings(obs, "source").get("seed") == 2**62 + 1, "a change elsewhere in the settings")
    assert settings(obs, "source")["fit"] == "cover" and "width" not in settings(obs, "source")
    for request, words in (
        ({"pull": 9.5}, "pull: give a number from -2 to 9"),
        ({"hops": 1.5}, "hops: give a whole number from 1 to 5"),
        ({"fit": "other"}, "fit: choose from: cover contain"),
        ({"negative_prompt": 3}, "negative_prompt: give a text"),
    ):
        with pytest.raises(Exception, match=words):
            obs.remote.vendor("set", source="source", **request)


def test_there_are_controls_only_for_what_acts_on_the_model(obs: Obs, scene: str, peer: Peer) -> None:
    vector = {"name": "style_vector", "kind": "vector", "default": None, "models": ["embedded"]}
    models = {"pull": ["checkpoint", "other"], "hops": ["embedded"], "fit": ["embedded"], "negative_prompt": []}
    own = [{**field, **({"models": models[field["name"]]} if field["name"] in models else {})} for field in FIELDS]
    peer.fields, peer.model = [*own, vector], "checkpoint"
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source")
    client = client_of(peer)
    shown = poll(lambda: "pull" in (shown := described(obs)) and shown, "the table in the dialogue")
    assert "strength" in shown and not {"hops", "fit", "negative_prompt", "style_image"} & set(shown)
    peer.model = "embedded"
    client.close()
    shown = poll(lambda: "hops" in (shown := described(obs)) and shown, "those of the other model")
    assert {"strength", "fit", "style_image"} <= set(shown) and not {"pull", "negative_prompt"} & set(shown)


def test_a_size_that_nobody_chose_in_obs_is_the_next_daemons_to_choose(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    client = client_of(peer)
    poll(lambda: client.frames, "frames")
    poll(lambda: (client.frames[-1].width, client.frames[-1].height) == (512, 288), "frames of the source's shape")
    client.change(width=648, height=360)  # the engine's own choice, not in OBS's cells
    poll(lambda: obs.stream("source")["width"] == 648, "it in the plugin")
    requests = len(client.requests)
    obs.remote.call("SetInputSettings", inputName="source", inputSettings={"width": 300, "height": 300})
    poll(lambda: client.parameters["width"] == client.parameters["height"] == 480, "its area in another shape")
    assert len([r for r in client.requests[requests:] if r.type is MessageType.PARAMETERS]) == 1
    peer.size = (256, 256)
    client.close()
    client = poll(lambda: (c := client_of(peer)) is not client and c, "another connection")
    assert not {"width", "height"} & set(client.hello["parameters"])
    shows(obs, "source", BLUE)
    assert client.parameters.get("width", 256) == 256, "it has the shape already"
    change(obs, "source", detail=128)
    poll(lambda: client.parameters.get("width") == 128, "the chosen detail")
    client.close()
    client = poll(lambda: (c := client_of(peer)) is not client and c, "a third connection")
    assert (client.hello["parameters"]["width"], client.hello["parameters"]["height"]) == (128, 128)


def test_what_the_next_daemon_does_not_know_is_left_out(obs: Obs, scene: str, peer: Peer) -> None:
    peer.fields = FIELDS
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="nonsense", pull=3.5, strength=0.25, from_a_newer_version=1)
    wanted = {"pull": 3.5, "strength": 0.25}
    poll(lambda: client_of(peer).hello["parameters"] == wanted, "a hello that is not refused")
    shows(obs, "source", BLUE)
    stream = obs.stream("source")
    assert "there is no such style" in stream["refusal"] or "no such parameter" in stream["refusal"]


def test_an_older_daemon_has_the_parameters_that_it_always_had(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    shown = described(obs)
    assert {"strength", "freedom", "steps", "detail", "style", "prompt"} <= set(shown)
    assert (shown["steps"]["low"], shown["steps"]["high"]) == (1, 8)
    saved = poll(lambda: "strength" in (s := settings(obs, "source")) and s, "the daemon's values in the settings")
    assert (saved["strength"], saved["freedom"], saved["steps"]) == (0.8, 0.1, 1), "as the daemon says"


def test_a_slider_sends_what_it_is_for_and_nothing_else(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap", prompt="turn")
    shows(obs, "source", GREEN)
    client = client_of(peer)
    poll(lambda: "strength" in settings(obs, "source"), "the daemon's state")
    client.change(strength=0.5)
    poll(lambda: settings(obs, "source")["strength"] == 0.5, "the strength in the settings")
    assert (settings(obs, "source")["prompt"], settings(obs, "source")["style"]) == ("turn", "swap")
    change(obs, "source", freedom=0.75)
    poll(lambda: client.parameters["freedom"] == 0.75, "the freedom")
    assert client.requests[-1].body == {"freedom": 0.75}
    assert client.parameters["prompts"] == [["turn", 1.0]] and client.parameters["strength"] == 0.5
    change(obs, "source", prompt="")
    shows(obs, "source", BLUE)
    assert client.requests[-1].body == {"styles": [["swap", 1.0]]}


def test_a_slider_dragged_elsewhere_and_one_dragged_here_do_not_fight(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    client = client_of(peer)
    poll(lambda: "strength" in settings(obs, "source"), "the daemon's state")
    for number in range(60):
        client.change(strength=(number + 1) / 64)
        change(obs, "source", freedom=(number + 1) / 64)
        time.sleep(0.01)
    last = 60 / 64
    poll(lambda: client.parameters["freedom"] == last, "the freedom at the daemon")
    poll(lambda: settings(obs, "source")["strength"] == last, "the strength in the settings")
    time.sleep(0.3)
    assert (client.parameters["strength"], settings(obs, "source")["freedom"]) == (last, last)
    assert not [r.body for r in client.requests if r.type is MessageType.PARAMETERS and "strength" in r.body]


def test_a_placeholder_of_the_daemon_is_not_shown(obs: Obs, scene: str, peer: Peer) -> None:
    black, good = np.zeros((288, 512, 4), np.uint8), peer.on_frame
    peer.on_frame = lambda client, message: (
        client.say(MessageType.RELEASE, slot=message.slot),
        client.show(black, message.pts, placeholder=True),
    )
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    poll(lambda: len(client_of(peer).frames) > 10, "frames")
    assert obs.colour("source")[:3] == RED
    peer.on_frame = good
    shows(obs, "source", BLUE)


def test_presets_and_refusals(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    obs.remote.vendor("preset", name="negative")
    shows(obs, "source", CYAN)
    poll(lambda: settings(obs, "source").get("strength") == 0.5, "the preset's values in the settings")
    change(obs, "source", style="nonsense")
    poll(lambda: "there is no such style" in obs.stream("source")["refusal"], "the refusal")
    shows(obs, "source", CYAN)
    change(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    assert obs.stream("source")["refusal"] == ""


def test_a_style_picture_is_read_and_sent(obs: Obs, scene: str, peer: Peer) -> None:
    file = obs.home / "style.png"
    image = np.zeros((900, 1300, 3), np.uint8)
    image[:, :650] = (10, 200, 30)
    cv2.imwrite(str(file), image)
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap", style_image=str(file))
    client = client_of(peer)
    picture = poll(lambda: client.pictures, "the picture")[0]
    assert max(picture.shape[:2]) <= 512 and picture.shape[1] > picture.shape[0]
    assert picture[5, 5].tolist() == [10, 200, 30, 255] and picture[5, -5].tolist() == [0, 0, 0, 255]
    change(obs, "source", style_image="")
    poll(lambda: any("style_vector" in r.body for r in client.requests), "the end of the picture's style")
    change(obs, "source", style_image="/nowhere.png")
    poll(lambda: obs.stream("source")["bad_picture"] == "/nowhere.png", "the complaint")


def test_a_websocket_request_changes_the_style(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    obs.remote.vendor("set", source="source", style="rotate", freedom=0.75)
    shows(obs, "source", GREEN)
    assert client_of(peer).parameters["freedom"] == 0.75


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"source": "source", "strength": 7}, "strength: give a number from 0 to 1"),
        ({"source": "source", "freedom": "much"}, "freedom: give a number"),
        ({"source": "nobody"}, "no source named 'nobody'"),
        ({"source": "source", "filter": "other"}, "no Driftcam filter 'other'"),
    ],
)
def test_a_bad_websocket_request_says_what_is_wrong(obs: Obs, scene: str, request_: dict, words: str) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source")
    with pytest.raises(Exception, match="OBS refused driftcam set") as caught:
        obs.remote.vendor("set", **request_)
    assert words in str(caught.value)


def test_hotkeys_go_through_the_styles(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="invert")
    shows(obs, "source", CYAN)
    assert "Driftcam.NextStyle" in obs.remote.call("GetHotkeyList")["hotkeys"]
    obs.remote.call("TriggerHotkeyByName", hotkeyName="Driftcam.NextStyle")
    shows(obs, "source", BLUE)  # swap
    obs.remote.call("TriggerHotkeyByName", hotkeyName="Driftcam.PreviousStyle")
    shows(obs, "source", CYAN)


def test_two_filters_with_their_own_styles_never_mix(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "one", RED)
    add_colour(obs, scene, "two", GREEN)
    add_filter(obs, "one", style="swap")
    add_filter(obs, "two", style="invert")
    shows(obs, "one", BLUE)
    shows(obs, "two", (255, 0, 255))
    sessions = {c.hello["session"]: c.hello["parameters"]["styles"][0][0] for c in peer.living}
    assert sorted(sessions.values()) == ["invert", "swap"] and len(sessions) == 2
    for _ in range(20):
        assert obs.colour("one")[:3] == BLUE and obs.colour("two")[:3] == (255, 0, 255)


def test_filters_can_be_stacked(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", "first", style="swap")
    add_filter(obs, "source", "second", style="invert")
    shows(obs, "source", (255, 255, 0))  # blue, inverted


def test_a_whole_scene_is_filtered(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "below", RED)
    item = add_colour(obs, scene, "above", GREEN, width=320)
    assert item
    add_filter(obs, scene, style="rotate")

    def turned() -> bool:
        picture = obs.picture(scene)
        left, right = picture[180, 100, :3].tolist(), picture[180, 500, :3].tolist()
        return left == [255, 0, 0] and right == [0, 255, 0]  # BGR: green became blue, red green

    poll(turned, "both halves in other colours")


def test_alpha_is_that_of_the_source(obs: Obs, scene: str, peer: Peer) -> None:
    file = obs.home / "half.png"
    image = np.zeros((*CANVAS[::-1], 4), np.uint8)
    image[:, :320] = (0, 0, 255, 255)  # red, and nothing on the right
    image[:180, 320:] = (0, 0, 255, 128)
    cv2.imwrite(str(file), image)
    add_colour(obs, scene, "below", GREEN)
    obs.remote.call(
        "CreateInput",
        sceneName=scene,
        inputName="half",
        inputKind="image_source",
        inputSettings={"file": str(file)},
    )
    add_filter(obs, "half", style="swap")

    def composited() -> bool:
        picture = obs.picture(scene)[..., :3].astype(int)
        solid, half, empty = picture[180, 100], picture[90, 480], picture[300, 480]
        mixed = half[0] > 60 and half[1] > 60 and half[2] < 20  # blue over green
        return solid.tolist() == [255, 0, 0] and empty.tolist() == [0, 255, 0] and bool(mixed)

    poll(composited, "the stylised picture over the one below")


def test_pictures_between_two_frames_have_the_alpha_of_the_last_one(obs: Obs, scene: str, peer: Peer) -> None:
    """Smooth motion: the times of such pictures are those of no frame."""

    def answer_twice(client: Client, message: Message) -> None:
        client.say(MessageType.RELEASE, slot=message.slot)
        image = np.full((message.height, message.width, 4), 255, np.uint8)
        client.show(image, message.pts + 1)
        client.show(image, message.pts + 2)

    peer.on_frame = answer_twice
    image = np.zeros((*CANVAS[::-1], 4), np.uint8)
    image[:, :320, 2:] = 255
    files = obs.home / "left.png", obs.home / "right.png"
    for file, picture in zip(files, (image, image[:, ::-1]), strict=True):
        cv2.imwrite(str(file), picture)
    add_colour(obs, scene, "below", GREEN)
    where = {"sceneName": scene, "inputName": "side", "inputKind": "image_source"}
    obs.remote.call("CreateInput", **where, inputSettings={"file": str(files[0])})
    add_filter(obs, "side", style="swap")

    def shows_below(column: int) -> bool:
        pixels = [obs.picture(scene)[180, x, :3].tolist() for x in (column, 640 - column)]
        return pixels[0] == [0, 255, 0] and pixels[1] != [0, 255, 0]

    poll(lambda: shows_below(480), "what is below on the right")
    obs.remote.call("SetInputSettings", inputName="side", inputSettings={"file": str(files[1])})
    poll(lambda: shows_below(160), "what is below on the left")
    assert all(shows_below(160) for _ in range(10))


def test_an_output_shows_a_session_with_its_alpha(obs: Obs, scene: str, peer: Peer) -> None:
    peer.size = (64, 36)
    add_colour(obs, scene, "below", GREEN)
    obs.remote.call(
        "CreateInput", sceneName=scene, inputName="out", inputKind="driftcam_output", inputSettings={"session": "show"}
    )
    client = client_of(peer, "sink")
    assert client.hello["session"] == "show"
    image = np.zeros((36, 64, 4), np.uint8)
    image[:, :32] = (255, 0, 0, 255)
    client.show(image, time.monotonic_ns())

    def shown() -> bool:
        picture = obs.picture(scene)
        return picture[10, 10, :3].tolist() == [255, 0, 0] and picture[10, 50, :3].tolist() == [0, 255, 0]

    poll(shown, "the picture and what is below it")
    answer = obs.remote.call("GetSceneItemId", sceneName=scene, sourceName="out")
    obs.remote.call("SetSceneItemEnabled", sceneName=scene, sceneItemId=answer["sceneItemId"], sceneItemEnabled=False)
    poll(client.ended.is_set, "the hidden output to leave")


def test_hidden_or_disabled_it_does_nothing(obs: Obs, scene: str, peer: Peer) -> None:
    item = add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    client = client_of(peer)

    def quiet() -> bool:
        before = len(client.frames)
        time.sleep(0.4)
        return len(client.frames) == before

    def busy() -> bool:
        return not quiet()

    obs.remote.call("SetSceneItemEnabled", sceneName=scene, sceneItemId=item, sceneItemEnabled=False)
    poll(quiet, "no frames while hidden")
    obs.remote.call("SetSceneItemEnabled", sceneName=scene, sceneItemId=item, sceneItemEnabled=True)
    poll(busy, "frames again")
    enable = {"sourceName": "source", "filterName": FILTER}
    obs.remote.call("SetSourceFilterEnabled", **enable, filterEnabled=False)
    poll(quiet, "no frames while disabled")
    assert obs.colour("source")[:3] == RED
    obs.remote.call("SetSourceFilterEnabled", **enable, filterEnabled=True)
    shows(obs, "source", BLUE)


def test_another_size_of_the_source_is_another_size_of_the_model(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap")
    shows(obs, "source", BLUE)
    client = client_of(peer)
    obs.remote.call("SetInputSettings", inputName="source", inputSettings={"width": 300, "height": 300})
    poll(lambda: (client.frames[-1].width, client.frames[-1].height) == (384, 384), "square frames")
    set_colour(obs, "source", GREEN)
    shows(obs, "source", GREEN)


def test_with_a_fixed_latency_every_picture_comes_that_much_later(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "source", RED)
    add_filter(obs, "source", style="swap", fixed_latency=True, latency_ms=600)
    shows(obs, "source", BLUE)
    stream = poll(lambda: (s := obs.stream("source"))["latency"]["count"] > 40 and s, "pictures")
    assert stream["latency"]["p50"] >= 600
    assert stream["latency"]["p50"] < 600 + 4 * stream["frame_ms"]
