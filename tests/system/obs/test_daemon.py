"""OBS, the plugin, the daemon's bus and the embedded model: what a streamer sees."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from driftcam.daemon.obs.remote import Refused
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.styles import STYLE_NAMES
from tests.system.obs.rig import CANVAS, DRIFTCAM, ROOT, Obs, free_port, poll, renders_on
from tests.system.obs.scenes import FILTER, add_colour, add_filter

pytestmark = pytest.mark.serial

PHOTOGRAPH = ROOT / "tests" / "data" / "astronaut.jpg"
GREY, RED = "charcoal-wash", "inferno"  # styles that even a median colour tells apart
BOLD = {"strength": 1.0, "freedom": 0.3, "steps": 1, "detail": 256}


class Daemon:
    """`driftcam serve`, that may be killed and started again."""

    def __init__(self, obs: Obs) -> None:
        self._obs = obs
        self.socket = obs.home / "runtime" / "driftcam" / "bus.sock"
        self.start()

    def start(self, size: str = "256x160") -> None:
        """Returns once it listens. `size` of the model's picture where no client asks for one."""
        home = self._obs.home / "daemon"
        home.mkdir(exist_ok=True)
        self.port = free_port()
        # The machine that runs tests is busy: no session is refused for being slow.
        settings = ("--set", "sessions.least_fps=0", "--set", f"live.size={size}")
        command = [*DRIFTCAM, "serve", "--listen", f"127.0.0.1:{self.port}", *settings]
        environment = {
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(self.socket.parents[1]),
        }
        environment |= {"PATH": os.environ["PATH"], "OPENVINO_TELEMETRY_OPT_OUT": "1"}
        with (home / "log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        poll(self._listens, f"the daemon's socket; see {home / 'log'}", 60)

    def _listens(self) -> bool:
        assert self.process.poll() is None, "the daemon ended"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket))
            return True
        return False

    def stop(self) -> None:
        """As at the end of a service."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            assert self.process.wait(60) == 0
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def daemon(obs: Obs) -> Iterator[Daemon]:
    """The daemon, for all tests here; it may be stopped and killed if it is started again."""
    daemon = Daemon(obs)
    yield daemon
    daemon.stop()


def add_photograph(obs: Obs, scene: str, name: str = "photograph", left: float = 0.0) -> None:
    """The photograph over the whole canvas, or its right-hand part."""
    file = obs.home / "photograph.png"
    if not file.exists():
        cv2.imwrite(str(file), cv2.resize(cv2.imread(str(PHOTOGRAPH))[60:348], CANVAS))
    answer = obs.remote.call(
        "CreateInput",
        sceneName=scene,
        inputName=name,
        inputKind="image_source",
        inputSettings={"file": str(file)},
    )
    where = {"sceneName": scene, "sceneItemId": answer["sceneItemId"]}
    obs.remote.call("SetSceneItemTransform", **where, sceneItemTransform={"positionX": left})


def redness(picture: np.ndarray) -> float:
    """How much more red than blue there is on average."""
    return float(picture[..., 2].astype(float).mean() - picture[..., 0].astype(float).mean())


def colourfulness(picture: np.ndarray) -> float:
    """Mean saturation, 0 to 255."""
    return float(cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2HSV)[..., 1].mean())


def is_red(picture: np.ndarray) -> bool:
    return redness(picture) > 70


def is_grey(picture: np.ndarray) -> bool:
    return colourfulness(picture) < 45


def looks(obs: Obs, source: str, judge: Callable[[np.ndarray], bool], timeout: float = 180.0) -> np.ndarray:
    """Wait until the picture of `source` is judged so. An engine in a new home compiles its kernels first."""
    seen: list[np.ndarray] = []

    def judged() -> bool:
        seen[:] = [obs.picture(source)]
        return judge(seen[0])

    try:
        poll(judged, f"{source} {judge.__name__}", timeout, 0.2)
    except AssertionError as error:
        cv2.imwrite(str(obs.home / "seen.png"), seen[0])
        numbers = f"redness {redness(seen[0]):.0f}, colour {colourfulness(seen[0]):.0f}"
        raise AssertionError(f"{error}: {numbers}; {obs.home / 'seen.png'}; {obs.streams()}") from None
    return seen[0]


def watch(obs: Obs, session: str) -> BusClient:
    """Somebody else on the daemon's bus who may change the session."""
    return BusClient("sink", session=session, path=obs.home / "runtime" / "driftcam" / "bus.sock")


def test_the_style_is_in_the_picture_and_changes_from_three_sides(obs: Obs, scene: str, daemon: Daemon) -> None:
    add_photograph(obs, scene)
    before = obs.picture("photograph")
    assert not is_grey(before) and not is_red(before)
    add_filter(obs, "photograph", style=GREY, **BOLD)
    looks(obs, "photograph", is_grey)
    filter_ = {"sourceName": "photograph", "filterName": FILTER}
    obs.remote.call("SetSourceFilterSettings", **filter_, filterSettings={"style": RED})  # as the properties do
    looks(obs, "photograph", is_red)
    obs.remote.vendor("set", source="photograph", style=GREY)  # the websocket
    looks(obs, "photograph", is_grey)
    with watch(obs, obs.stream("photograph")["session"]) as other:  # the daemon
        other.change(styles=[[RED, 1.0]])
    after = looks(obs, "photograph", is_red)
    saved = poll(
        lambda: (s := obs.remote.call("GetSourceFilter", **filter_)["filterSettings"])["style"] == RED and s,
        "the daemon's style in the settings",
    )
    assert saved["prompt"] == ""
    difference = np.abs(after[..., :3].astype(int) - before[..., :3]).mean()
    assert difference > 25, "another picture than the photograph"
    stream = obs.stream("photograph")
    assert (stream["width"], stream["height"]) == (352, 192) and stream["server"].startswith("driftcam")
    assert 0 < stream["latency"]["p50"] < 5000


def settings(obs: Obs) -> dict:
    """Those of the filter on the photograph, as saved."""
    return obs.remote.call("GetSourceFilter", sourceName="photograph", filterName=FILTER)["filterSettings"]


def change(obs: Obs, **values: object) -> None:
    """As the properties dialogue does."""
    obs.remote.call("SetSourceFilterSettings", sourceName="photograph", filterName=FILTER, filterSettings=values)


def connected(obs: Obs) -> str:
    """The session of the filter on the photograph, once the plugin has its state."""
    return poll(lambda: (s := obs.stream("photograph"))["styles"] and s, "the daemon's state")["session"]


def follows(other: BusClient, **expected: object) -> dict:
    """The daemon's parameters, once they are so."""

    def there() -> dict | None:
        parameters = other.report()["parameters"]
        return parameters if all(parameters[name] == value for name, value in expected.items()) else None

    return poll(there, f"{expected} in the daemon's parameters")


def test_words_given_in_obs_outlive_a_change_elsewhere_and_the_next_slider(
    obs: Obs, scene: str, daemon: Daemon
) -> None:
    words = "a charcoal drawing in fog"
    add_photograph(obs, scene)
    add_filter(obs, "photograph", style=RED, prompt=words, **BOLD)
    with watch(obs, connected(obs)) as other:
        styles = follows(other, prompts=[[words, 1.0]])["styles"]
        other.change(strength=0.875)  # as the page does
        poll(lambda: settings(obs).get("strength") == 0.875, "the strength in the settings")
        assert settings(obs)["prompt"] == words
        change(obs, freedom=0.25)
        assert follows(other, freedom=0.25)["prompts"] == [[words, 1.0]]
        follows(other, strength=0.875, styles=styles)


@pytest.mark.parametrize(
    "look",
    [
        {"styles": [["dusk", 0.6875], ["weave", 0.3125]]},
        {"styles": [["dusk", 1.0]], "prompts": [["a fox, in fog at dusk", 1.0], ["embers: dark lava", 0.5]]},
        {"prompts": [["a quiet harbour", 2.0]]},
        {"guidance": "self", "seed": 2**40 + 1, "style_image_weight": 0.5},
    ],
)
def test_a_look_given_elsewhere_outlives_sliders_moved_in_obs(obs: Obs, scene: str, daemon: Daemon, look: dict) -> None:
    add_photograph(obs, scene)
    add_filter(obs, "photograph", style=GREY, **BOLD)
    with watch(obs, connected(obs)) as other:
        other.change(**look)
        time.sleep(0.3)  # the plugin has heard of it
        before = follows(other, **look)
        change(obs, freedom=0.25)
        change(obs, strength=0.875)
        after = follows(other, freedom=0.25, strength=0.875)
        assert after == before | {"freedom": 0.25, "strength": 0.875}


def test_a_style_picture_given_elsewhere_outlives_one_taken_back_in_obs(obs: Obs, scene: str, daemon: Daemon) -> None:
    file = obs.home / "any.png"
    cv2.imwrite(str(file), np.full((64, 64, 3), 90, np.uint8))
    add_photograph(obs, scene)
    add_filter(obs, "photograph", style=GREY, **BOLD)
    with watch(obs, connected(obs)) as other:
        poll(lambda: obs.stream("photograph")["results"], "the engine", 60)
        change(obs, style_image=str(file))
        follows(other, style_picture=True)
        change(obs, style_image="")
        follows(other, style_picture=False)
        picture = cv2.imencode(".png", np.full((64, 64, 3), (20, 40, 200), np.uint8))[1].tobytes()
        address = f"http://127.0.0.1:{daemon.port}/api/style-picture?session={other.session}"
        with urllib.request.urlopen(urllib.request.Request(address, picture, method="PUT"), timeout=20):
            follows(other, style_picture=True)
        change(obs, freedom=0.25)
        assert follows(other, freedom=0.25)["style_picture"]


def test_styles_and_presets_come_from_the_daemon(obs: Obs, scene: str, daemon: Daemon) -> None:
    add_photograph(obs, scene)
    add_filter(obs, "photograph", prompt="a charcoal drawing in fog", **BOLD)
    looks(obs, "photograph", is_grey)
    names = poll(lambda: obs.stream("photograph")["styles"], "the names of the styles")
    assert [style["name"] for style in names] == list(STYLE_NAMES)
    obs.remote.vendor("set", source="photograph", style="no-such-style")
    poll(lambda: "there is no such style" in obs.stream("photograph")["refusal"], "the daemon's refusal")
    looks(obs, "photograph", is_grey)
    with watch(obs, obs.stream("photograph")["session"]) as other:
        other.change(styles=[[RED, 1.0]])
        looks(obs, "photograph", is_red)
        keep = f"http://127.0.0.1:{daemon.port}/api/presets/fire?session={other.session}"
        with urllib.request.urlopen(urllib.request.Request(keep, method="PUT"), timeout=20):
            other.change(styles=[[GREY, 1.0]])
    looks(obs, "photograph", is_grey)
    obs.remote.vendor("preset", name="fire")
    looks(obs, "photograph", is_red)
    with pytest.raises(Refused, match="name: give the name"):
        obs.remote.vendor("preset")


def test_a_whole_scene_is_stylised(obs: Obs, scene: str, daemon: Daemon) -> None:
    add_photograph(obs, scene)
    add_colour(obs, scene, "square", (0, 255, 0), width=100, height=100)
    add_filter(obs, scene, style=RED, **BOLD)
    picture = looks(obs, scene, is_red)
    assert picture[50, 50].tolist() != [0, 255, 0, 255], "what lies above is part of the picture"


def test_two_styles_at_once_are_never_mixed(obs: Obs, scene: str, daemon: Daemon) -> None:
    add_photograph(obs, scene, "one")
    add_photograph(obs, scene, "two", left=CANVAS[0] / 2)
    add_filter(obs, "one", style=GREY, **BOLD)
    add_filter(obs, "two", style=RED, **BOLD)
    looks(obs, "one", is_grey)
    looks(obs, "two", is_red)
    for _ in range(8):
        assert is_grey(obs.picture("one")) and is_red(obs.picture("two"))
    both = obs.picture(scene)
    half = CANVAS[0] // 2
    assert redness(both[:, :half]) < 30 and is_red(both[:, half:])


def test_a_picture_gives_the_style(obs: Obs, scene: str, daemon: Daemon) -> None:
    file = obs.home / "red.jpg"
    shapes = np.random.default_rng(1).integers(0, 60, (256, 256, 3), np.uint8)
    shapes[..., 2] += 170
    cv2.imwrite(str(file), cv2.GaussianBlur(shapes, (9, 9), 0))
    add_photograph(obs, scene)
    add_filter(obs, "photograph", style=GREY, **BOLD)
    looks(obs, "photograph", is_grey)
    obs.remote.vendor("set", source="photograph", style_image=str(file))
    looks(obs, "photograph", lambda picture: redness(picture) > 40)
    obs.remote.vendor("set", source="photograph", style_image="")
    looks(obs, "photograph", is_grey)


def test_the_transparent_part_of_a_source_stays_transparent(obs: Obs, scene: str, daemon: Daemon) -> None:
    file = obs.home / "cut.png"
    photograph = cv2.cvtColor(cv2.resize(cv2.imread(str(PHOTOGRAPH))[60:348], CANVAS), cv2.COLOR_BGR2BGRA)
    photograph[:, CANVAS[0] // 2 :] = 0
    cv2.imwrite(str(file), photograph)
    add_colour(obs, scene, "below", (0, 255, 0))
    settings = {"file": str(file)}
    obs.remote.call("CreateInput", sceneName=scene, inputName="cut", inputKind="image_source", inputSettings=settings)
    add_filter(obs, "cut", style=RED, **BOLD)

    def composited(picture: np.ndarray) -> bool:
        half = CANVAS[0] // 2
        return is_red(picture[:, : half - 10]) and (picture[:, half + 10 :, :3] == (0, 255, 0)).all()

    looks(obs, scene, composited)


def test_an_output_shows_the_daemons_session(obs: Obs, scene: str, daemon: Daemon) -> None:
    obs.remote.call("CreateInput", sceneName=scene, inputName="out", inputKind="driftcam_output", inputSettings={})
    poll(lambda: obs.stream("out")["state"] == "connected", "a connection")
    path: Path = obs.home / "runtime" / "driftcam" / "bus.sock"
    with BusClient("source", session="live", path=path) as source:
        source.change(styles=[[RED, 1.0]], strength=1.0, steps=1)
        photograph = cv2.cvtColor(cv2.resize(cv2.imread(str(PHOTOGRAPH)), source.size), cv2.COLOR_BGR2RGB)

        def judged(picture: np.ndarray) -> bool:
            source.send(photograph)
            return is_red(picture)

        looks(obs, "out", judged)


def test_without_the_plugin_a_media_source_shows_the_result(obs: Obs, scene: str, daemon: Daemon) -> None:
    address = f"http://127.0.0.1:{daemon.port}/result.mjpeg?session=live"
    settings = {"is_local_file": False, "input": address, "input_format": "mpjpeg", "buffering_mb": 0}
    obs.remote.call(
        "CreateInput", sceneName=scene, inputName="media", inputKind="ffmpeg_source", inputSettings=settings
    )
    with BusClient("source", session="live", path=daemon.socket) as source:
        source.change(styles=[[RED, 1.0]], strength=1.0, steps=1)
        photograph = cv2.cvtColor(cv2.resize(cv2.imread(str(PHOTOGRAPH)), source.size), cv2.COLOR_BGR2RGB)

        def judged(picture: np.ndarray) -> bool:
            source.send(photograph)
            return is_red(picture)

        looks(obs, "media", judged)


def test_the_real_daemon_killed_and_started_again(obs: Obs, scene: str, daemon: Daemon) -> None:
    add_photograph(obs, scene)
    add_filter(obs, "photograph", style=GREY, **BOLD)
    looks(obs, "photograph", is_grey)
    daemon.process.kill()
    daemon.process.wait()
    poll(lambda: obs.stream("photograph")["state"] == "connecting", "the end of the connection")
    renders_on(obs, 1.0)
    assert is_grey(obs.picture("photograph")), "the last picture is held"
    results = obs.stream("photograph")["results"]
    daemon.start()
    poll(lambda: obs.stream("photograph")["results"] > results, "new pictures", 60)
    assert obs.stream("photograph")["connections"] == 2


def test_the_daemon_goes_on_choosing_the_size_after_it_was_started_again(obs: Obs, scene: str, daemon: Daemon) -> None:
    bold = {name: value for name, value in BOLD.items() if name != "detail"}
    add_photograph(obs, scene)
    add_filter(obs, "photograph", style=GREY, **bold)
    looks(obs, "photograph", is_grey)
    stream = obs.stream("photograph")
    assert (stream["width"], stream["height"]) == (256, 160)
    daemon.stop()
    log = obs.home / "daemon" / "log"
    before = len(log.read_text())
    daemon.start("auto")
    said = poll(lambda: re.search(r"size auto: (\d+)²", log.read_text()[before:]), "the daemon's choice in its log", 60)
    side = int(said[1])

    def has_it() -> bool:
        stream = obs.stream("photograph")
        area, shape = stream["width"] * stream["height"], stream["width"] / stream["height"]
        return abs(area / side**2 - 1) < 0.12 and abs(shape / (CANVAS[0] / CANVAS[1]) - 1) < 0.12

    poll(has_it, f"a picture of {side}² pixels", 30)
    daemon.stop()
    daemon.start()


def test_the_real_daemon_stopped_for_five_seconds(obs: Obs, scene: str, daemon: Daemon) -> None:
    add_photograph(obs, scene)
    add_filter(obs, "photograph", style=GREY, **BOLD)
    looks(obs, "photograph", is_grey)
    daemon.process.send_signal(signal.SIGSTOP)
    before = obs.stream("photograph")
    renders_on(obs, 5.0)
    during = obs.stream("photograph")
    assert during["state"] == "silent" and is_grey(obs.picture("photograph"))
    assert during["sent"] - before["sent"] <= 6, "frames that nobody takes are not even captured"
    daemon.process.send_signal(signal.SIGCONT)
    poll(lambda: obs.stream("photograph")["results"] > during["results"] + 3, "new pictures", 60)
    assert obs.stream("photograph")["connections"] == 1
