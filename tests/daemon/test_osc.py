"""Open Sound Control against a daemon of its own, spoken by python-osc's client and a UDP socket."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest
from pythonosc.osc_packet import OscPacket
from pythonosc.udp_client import SimpleUDPClient

from tests.daemon.test_serve import CONFIG, Served, serving


class Controller:
    """A fader box: sends, and keeps the newest value of each address that it is told of."""

    def __init__(self, port: int, ear: socket.socket) -> None:
        self.port, self._client, self._ear = port, SimpleUDPClient("127.0.0.1", port), ear
        self.values: dict[str, tuple] = {}

    def send(self, address: str, *values: object) -> None:
        self._client.send_message(address, list(values))

    def raw(self, datagram: bytes) -> None:
        self._ear.sendto(datagram, ("127.0.0.1", self.port))

    def heard(self, address: str, values: tuple | None = None) -> tuple:
        """Wait until it is told of them, or, without `values`, of any."""
        while address not in self.values or (values is not None and self.values[address] != values):
            for timed in OscPacket(self._ear.recv(65536)).messages:
                self.values[timed.message.address] = tuple(timed.message.params)
        return self.values[address]


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Controller]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(60)
        port = free_udp_port()
        listen, feedback = f"127.0.0.1:{port}", f"127.0.0.1:{ear.getsockname()[1]}"
        config = f'{CONFIG}\n[osc]\nlisten = "{listen}"\nfeedback = "{feedback}"\n'
        with serving(tmp_path_factory.mktemp("osc"), config) as served:
            served.until(lambda: served.state()["delivered"] > 0)
            assert served.ctl("preset", "save", "kept").returncode == 0
            yield served, Controller(port, ear)


def test_a_desk_is_told_what_is_there(desk: tuple[Served, Controller]) -> None:
    served, controller = desk
    there = served.state()["parameters"]
    assert controller.heard("/driftcam/strength", (there["strength"],))
    assert controller.heard("/driftcam/live/styles", tuple(itertools.chain(*there["styles"])))


@pytest.mark.parametrize(
    ("address", "sent", "name", "expected"),
    [
        ("/driftcam/strength", (0.25,), "strength", 0.25),
        ("/driftcam/live/freedom", (1,), "freedom", 1.0),  # a button where a fraction is meant
        ("/driftcam/steps", (2.0,), "steps", 2),  # a fader where a whole number is meant
        ("/driftcam/noise", ("fixed",), "noise", "fixed"),
        ("/driftcam/styles", ("weave", 3, "dusk", 1.0), "styles", [["weave", 0.75], ["dusk", 0.25]]),
        ("/driftcam/styles", ("meadow",), "styles", [["meadow", 1.0]]),
    ],
)
def test_what_it_sends_is_in_effect_and_comes_back(desk, address, sent, name, expected) -> None:
    served, controller = desk
    controller.send(address, *sent)
    served.until(lambda: served.state()["parameters"][name] == expected)
    flat = tuple(itertools.chain(*expected)) if isinstance(expected, list) else (expected,)
    assert controller.heard(f"/driftcam/{name}", flat) == controller.heard(f"/driftcam/live/{name}", flat)


def test_words_and_looks(desk: tuple[Served, Controller]) -> None:
    served, controller = desk
    controller.send("/driftcam/prompt", "a great wave")
    served.until(lambda: served.state()["parameters"]["styles"][0][0] == "great-wave")
    assert served.ctl("preset", "save", "waves").returncode == 0
    for way in ((), (0.5,)):
        controller.send("/driftcam/styles", "dusk")
        served.until(lambda: served.state()["parameters"]["styles"][0][0] == "dusk")
        controller.send("/driftcam/preset", "waves", *way)
        served.until(lambda: served.state()["parameters"]["styles"][0][0] == "great-wave")


def test_bypass_by_a_button(desk: tuple[Served, Controller]) -> None:
    served, controller = desk
    for sent in (1.0, 0):
        controller.send("/driftcam/bypass", sent)
        served.until(lambda sent=sent: served.state()["bypass"] is bool(sent))
        assert controller.heard("/driftcam/bypass", (int(sent),))
    controller.send("/driftcam/bypass")  # a button that says nothing: the other one of both
    served.until(lambda: served.state()["bypass"])
    controller.send("/driftcam/live/bypass")
    served.until(lambda: not served.state()["bypass"])


def test_of_a_fader_that_is_moved_fast_the_newest_counts(desk: tuple[Served, Controller]) -> None:
    served, controller = desk
    for k in range(100):  # no more than a socket holds while the daemon does something else
        controller.send("/driftcam/strength", k / 128)
    served.until(lambda: served.state()["parameters"]["strength"] == 99 / 128)


@pytest.mark.parametrize(
    ("address", "sent", "words"),
    [
        ("/driftcam/strength", (7.5,), "give a number from 0 to 1"),
        ("/driftcam/strength", (float("nan"),), "strength"),
        ("/driftcam/steps", (float("inf"),), "steps"),
        ("/driftcam/strength", (0.1, 0.2), "send one value"),
        ("/driftcam/strenth", (0.1,), "did you mean strength"),
        ("/driftcam/nobody/strength", (0.1,), "there is none of this name"),
        ("/driftcam/preset", ("none",), "choose from: kept"),
        ("/driftcam/preset", ("kept", 99.0), "travel: 99"),
        ("/driftcam/styles", (0.5, "dusk"), "send names or texts"),
        ("/driftcam/bypass", (0.5,), "send 1 or 0"),
        ("/driftcam/bypass", ("on",), "send 1 or 0"),
        ("/strength", (0.1,), "write /driftcam/NAME"),
    ],
)
def test_a_mistake_is_explained_and_changes_nothing(desk, address, sent, words) -> None:
    served, controller = desk
    before = served.state()["parameters"]
    controller.values.pop("/driftcam/error", None)
    controller.send(address, *sent)
    assert words in controller.heard("/driftcam/error")[0]
    assert served.state()["parameters"] == before


def test_what_is_no_osc_is_passed_over(desk: tuple[Served, Controller]) -> None:
    served, controller = desk
    for rubbish in (b"", b"\0", b"/driftcam", b"#bundle\0" + b"\xff" * 20, b"/driftcam/strength\0\0,f\0\0\1"):
        controller.raw(rubbish)
    controller.send("/driftcam/strength", 0.125)
    served.until(lambda: served.state()["parameters"]["strength"] == 0.125)


def test_an_address_that_is_taken_is_said_at_once(tmp_path, desk: tuple[Served, Controller]) -> None:
    _, controller = desk
    taken = controller.port
    config = f'{CONFIG}\n[osc]\nlisten = "127.0.0.1:{taken}"\n'
    said = f"osc.listen: 127.0.0.1:{taken} cannot be opened"
    with pytest.raises(AssertionError, match=said), serving(tmp_path, config) as served:
        served.until(lambda: False)


def test_a_desk_that_nobody_knows_is_said_at_once(tmp_path) -> None:
    config = f'{CONFIG}\n[osc]\nlisten = "127.0.0.1:{free_udp_port()}"\nfeedback = "desk.invalid:9001"\n'
    said = "osc.feedback: desk.invalid:9001 is not known"
    with pytest.raises(AssertionError, match=said), serving(tmp_path, config) as served:
        served.until(lambda: False)
