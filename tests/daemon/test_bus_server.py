"""The frame bus as programs outside meet it: the real server, the real engine process with the stand-in engine."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from driftcam.daemon.bus.server import BusServer
from driftcam.daemon.engine.port import Port
from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.service.metrics import Metrics
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.presets import Presets
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.bus import MAGIC, MAJOR, MINOR, Message, MessageType, encode
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.planes import NO_PLANES, PixelFormat, Planes
from tests.daemon import standin
from tests.daemon.conftest import IMPATIENT, ROOT

SIZE = (96, 64)


class Bus:
    """A daemon with nothing but the bus."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.core = Core(worker_command(standin.NAME), notify=self.lines.append, timeouts=IMPATIENT)
        self.presets = Presets(folder / "presets")
        self.server = BusServer(
            self.core.sessions,
            defaults=lambda: Parameters(width=SIZE[0], height=SIZE[1]),
            presets=self.presets,
            page=lambda: "http://127.0.0.1:1/",
        )
        self.path = self.server.start(folder)

    def client(self, role: str, session: str = "one", **options: Any) -> BusClient:
        return BusClient(role, session=session, path=self.path, **options)

    async def close(self) -> None:
        await self.server.close()
        await self.core.close()


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    running = Bus(tmp_path)
    yield running
    await running.close()


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """A client blocks; the daemon must go on meanwhile."""
    async with asyncio.timeout(60):
        return await asyncio.to_thread(work, *arguments)


def picture(value: int, channels: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    image = np.full((size[1], size[0], channels), value, np.uint8)
    image[..., 0] = 10  # channel order shows
    return image


def through(client: BusClient, image: np.ndarray, pts: int, planes: Planes = NO_PLANES) -> np.ndarray:
    """What becomes of `image`; offered again until the engine is there."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        client.send(image, pts, planes)
        try:
            result, came = client.receive(timeout=0.1)
        except TimeoutError:
            continue
        if came == pts:
            return result
    raise AssertionError("no result came")


async def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("pixel_format", "channels"), [(PixelFormat.RGB24, 3), (PixelFormat.BGRA8, 4)])
async def test_a_filter_gets_its_frames_back_with_their_times_and_colours(
    bus: Bus, pixel_format: PixelFormat, channels: int
) -> None:
    def work() -> None:
        with bus.client("filter", pixel_format=pixel_format) as client:
            assert client.size == SIZE
            result = through(client, picture(200, channels), pts=7)
            wanted = 255 - picture(200, channels)
            if channels == 4:
                wanted[..., 3] = 255
            np.testing.assert_array_equal(result, wanted)

    await in_thread(work)


async def test_pictures_of_other_sizes_are_scaled_both_ways(bus: Bus) -> None:
    def work() -> None:
        with bus.client("filter", pixel_format=PixelFormat.BGRA8, size=(320, 180)) as client:
            result = through(client, picture(60, 4, (640, 480)), pts=1)
            assert result.shape == (180, 320, 4)
            assert result[90, 160].tolist() == [245, 195, 195, 255]

    await in_thread(work)


async def test_source_and_sinks_are_programs_of_their_own(bus: Bus) -> None:
    def work() -> None:
        with bus.client("source") as source, bus.client("sink") as first, bus.client("sink") as second:
            while not source.state or source.state["fps"] == 0:
                source.send(picture(100))
                time.sleep(0.02)
            for sink in (first, second):
                assert sink.receive()[0][5, 5].tolist() == [245, 155, 155]

    await in_thread(work)
    await until(lambda: len(bus.core.sessions) == 0)  # opened by clients: ended with the last


async def test_a_session_that_is_there_already_outlives_its_clients(bus: Bus) -> None:
    bus.core.sessions.open("one", Parameters(width=64, height=64))

    def work() -> None:
        with bus.client("source") as source:
            assert source.size == (64, 64)

    await in_thread(work)
    await until(lambda: not bus.server.clients)
    assert bus.core.sessions.get("one") is not None


async def test_requests_are_answered_and_everybody_hears_of_the_change(bus: Bus) -> None:
    bus.presets.save("calm", Parameters(strength=0.25))

    def work() -> None:
        with bus.client("source", parameters={"strength": 0.75}) as source, bus.client("sink") as sink:
            report = source.report()
            assert report["parameters"]["strength"] == 0.75
            assert (report["presets"], report["page"]) == (["calm"], "http://127.0.0.1:1/")
            assert "starry-night" in report["styles"]
            assert source.change(strength=0.5)["parameters"]["strength"] == 0.5
            assert source.use_preset("calm")["parameters"]["strength"] == 0.25
            faded = source.use_preset("calm", travel=2)["parameters"]
            assert (faded["strength"], faded["travel"]) == (0.25, 0)
            assert source.change(prompt="a wave")["parameters"]["styles"][0][0] == "great-wave"
            for call, field in [
                (lambda: source.change(strength=7), "strength"),
                (lambda: source.change(nonsense=1), "nonsense"),
                (lambda: source.change(style_vector=[0]), "style_vector"),
                (lambda: source.change(noise="x" * 60_000), "noise"),
                (lambda: source.change(), "changes"),
                (lambda: source.use_preset("unknown"), "preset"),
                (lambda: source.use_preset("calm", travel=61), "travel"),
            ]:
                with pytest.raises(ParameterError) as refusal:
                    call()
                assert refusal.value.field == field
            end = time.monotonic() + 10
            while not sink.state or sink.state["version"] < 4:
                assert time.monotonic() < end
                with pytest.raises(TimeoutError):
                    sink.receive(timeout=0.05)
            assert sink.state["parameters"]["strength"] == 0.25

    await in_thread(work)


async def test_a_picture_in_a_slot_becomes_the_style(bus: Bus) -> None:
    def work() -> None:
        with bus.client("filter", pixel_format=PixelFormat.BGRA8) as client:
            through(client, picture(1, 4), pts=1)  # the engine is there
            image = np.zeros((2000, 1000, 4), np.uint8)
            image[...] = (30, 20, 10, 0)
            assert client.use_style_picture(image)["parameters"]["style_picture"]
            for number in range(3):  # its slot came back
                through(client, picture(1, 4), pts=2 + number)

    await in_thread(work)
    session = bus.core.sessions.get("one")
    assert session is None or session.control.parameters.style_vector[:3] == (10, 20, 30)


async def test_sessions_have_parameters_and_pictures_of_their_own(bus: Bus) -> None:
    def work(number: int) -> None:
        size = (64 + 32 * number, 64)
        with bus.client("filter", f"s{number}", parameters={"width": size[0], "height": 64}) as client:
            for round_ in range(30):
                result = through(client, picture(50 + number * 20 + round_, size=size), pts=round_ + 1)
                np.testing.assert_array_equal(result, 255 - picture(50 + number * 20 + round_, size=size))
            assert client.change(seed=number)["parameters"]["seed"] == number

    await asyncio.gather(*(in_thread(work, number) for number in range(3)))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "king"}, "role"),
        ({}, "role"),
        ({"role": ["sink"]}, "role"),
        ({"role": "sink", "session": "nobody"}, "session"),
        ({"role": "source", "session": "../etc"}, "session"),
        ({"role": "source", "session": 5}, "session"),
        ({"role": "source", "format": "NV12"}, "format"),
        ({"role": "source", "format": {}}, "format"),
        ({"role": "source", "name": "x" * 65}, "name"),
        ({"role": "source", "name": "a\nb"}, "name"),
        ({"role": "filter", "width": -1}, "width"),
        ({"role": "filter", "height": 1e99}, "height"),
        ({"role": "source", "parameters": {"strength": 9}}, "strength"),
        ({"role": "source", "parameters": "loud"}, "changes"),
    ],
)
async def test_a_hello_that_cannot_be_served_is_told_which_field(bus: Bus, body: dict, field: str) -> None:
    (answer,) = await exchange(bus, encode(Message(MessageType.HELLO, body=body)))
    assert (answer.type, answer.body["field"]) == (MessageType.ERROR, field)
    assert answer.body["text"] and answer.body["advice"]
    assert len(bus.core.sessions) == 0


async def test_another_version_is_refused_and_named(bus: Bus) -> None:
    data = bytearray(encode(Message(MessageType.HELLO, body={"role": "source"})))
    data[4] = MAJOR + 1
    (answer,) = await exchange(bus, bytes(data))
    assert answer.type is MessageType.ERROR
    assert f"version {MAJOR + 1}.{MINOR}" in answer.body["advice"]


async def exchange(bus: Bus, data: bytes) -> list[Message]:
    """What the daemon answers to raw bytes before it hangs up."""
    from driftcam.engines.api.bus import Decoder

    reader, writer = await asyncio.open_unix_connection(bus.path)
    writer.write(data)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return list(Decoder().feed(answer))


async def test_a_session_has_one_source(bus: Bus) -> None:
    def work() -> None:
        with bus.client("source", name="first"), pytest.raises(ParameterError, match=r"first gives it frames"):
            bus.client("filter")
        end = time.monotonic() + 10
        while True:  # the place is free again
            try:
                bus.client("filter").close()
                return
            except ParameterError:
                assert time.monotonic() < end

    await in_thread(work)


async def test_the_socket_is_for_this_user_alone_and_one_daemon(bus: Bus, tmp_path: Path) -> None:
    assert stat.S_IMODE(bus.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(bus.path.parent.stat().st_mode) == 0o700
    with pytest.raises(ParameterError, match="another daemon is running"):
        BusServer(bus.core.sessions).start(tmp_path)


async def test_the_socket_of_a_daemon_that_was_killed_is_taken_over(bus: Bus, tmp_path: Path) -> None:
    import socket

    folder = tmp_path / "other"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "bus.sock"))
    server = BusServer(bus.core.sessions)
    server.start(folder)
    await server.close()
    assert not (folder / "bus.sock").exists()


async def test_without_a_runtime_folder_the_bus_says_what_to_do(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    with pytest.raises(ParameterError, match=r"XDG_RUNTIME_DIR.*set"):
        BusServer(bus.core.sessions).start()


async def test_a_session_that_is_closed_hangs_up_on_its_clients(bus: Bus) -> None:
    client = await in_thread(lambda: bus.client("filter"))
    await bus.core.sessions.close("one")
    await until(lambda: not bus.server.clients)
    with pytest.raises(OSError):
        await in_thread(client.receive)
    client.close()


def ramp(width: int, height: int) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


async def test_planes_reach_the_engine_and_come_back_with_the_result(bus: Bus) -> None:
    def work() -> None:
        with bus.client("filter", alpha=True) as client:
            mask = ramp(*SIZE)
            result = through(client, picture(200), 1, {"mask": mask})
            np.testing.assert_array_equal(result, 255 - picture(200))
            np.testing.assert_array_equal(client.planes["alpha"], mask)
            depth = np.full((SIZE[1], SIZE[0]), 77 << 8, np.uint16)
            assert (through(client, picture(200), 2, {"depth": depth}) == 77).all()
            assert client.planes == {}
            # planes of another size cover the same view; one that nobody reads is left out
            through(client, picture(9, size=(192, 128)), 3, {"mask": ramp(48, 32), "control": picture(3)})
            np.testing.assert_allclose(client.planes["alpha"].astype(int), mask, atol=6)

    await in_thread(work)


async def test_planes_are_cropped_as_the_picture_is(bus: Bus) -> None:
    def work() -> None:
        with bus.client("filter", alpha=True) as client:
            wide = np.zeros((64, 192, 3), np.uint8)  # a quarter is cut off on both sides
            mask = np.zeros((32, 96), np.uint8)
            mask[:, 24:72] = 255
            through(client, wide, 1, {"mask": mask})
            assert (client.planes["alpha"] == 255).all()

    await in_thread(work)


@pytest.mark.parametrize("size", [SIZE, (192, 128)])
async def test_bgra_keeps_its_alpha_for_who_asks_for_it(bus: Bus, size: tuple[int, int]) -> None:
    def work() -> None:
        with bus.client("filter", pixel_format=PixelFormat.BGRA8, alpha=True) as client:
            image = picture(9, 4, size)
            image[..., 3] = ramp(*size)
            np.testing.assert_allclose(through(client, image, 1)[..., 3].astype(int), ramp(*SIZE), atol=2)
        with bus.client("filter", "other", pixel_format=PixelFormat.BGRA8) as client:
            assert (through(client, image, 1)[..., 3] == 255).all()

    await in_thread(work)


async def test_what_nobody_reads_is_not_even_copied(bus: Bus) -> None:
    offered = []

    def work() -> None:
        with bus.client("filter", pixel_format=PixelFormat.BGRA8) as client:
            through(client, picture(9, 4), 1)
            stream = bus.core.supervisor.streams[0]
            there = stream.offer
            stream.offer = lambda frame: offered.append(frame) or there(frame)
            through(client, picture(9, 4), 2, {"alpha": ramp(*SIZE), "control": picture(3)})

    await in_thread(work)
    assert offered and all(not frame.planes for frame in offered)


async def test_a_session_plane_is_given_and_taken_away(bus: Bus) -> None:
    def work() -> None:
        with bus.client("filter") as client:
            through(client, picture(1), 1)
            read = {plane["name"]: plane["read"] for plane in client.report()["planes"]}
            assert read == {
                **{"rgb": True, "alpha": False, "mask": True, "style_map": False, "control": False, "depth": True},
                "style_picture": True,
            }
            assert client.set_plane("style_picture", picture(7))["parameters"]["style_picture"] is True
            assert client.set_plane("style_picture", None)["parameters"]["style_picture"] is False
            for name, words in [("mask", "belongs to a frame"), ("nonsense", "there is no such plane"), (7, "no such")]:
                for image in (None, picture(3)):
                    with pytest.raises(ParameterError, match=words):
                        client.set_plane(name, image)
            through(client, picture(1), 2)  # every slot came back

    await in_thread(work)


async def test_a_session_plane_is_given_again_to_the_next_engine(bus: Bus) -> None:
    def work() -> list[str]:
        with bus.client("filter") as client:
            through(client, picture(1), 1)
            client.set_plane("style_picture", picture(7))
            stream = bus.core.supervisor.streams[0]
            again: list[str] = []
            there = Port.set_plane

            async def told(port: Port, name: str, image: np.ndarray | None) -> dict:
                changes = await there(port, name, image)
                again.append(f"{name} {changes['style_vector'][1]:.0f}")
                return changes

            Port.set_plane = told  # type: ignore[method-assign]
            try:
                for pts in (2, 1000):
                    os.kill(stream._engine.pid, signal.SIGKILL)
                    through(client, picture(1), pts)
                    if pts == 2:
                        assert client.change(style_vector=None)["parameters"]["style_picture"] is False
            finally:
                Port.set_plane = there  # type: ignore[method-assign]
            return again

    assert await in_thread(work) == ["style_picture 7"]  # not once more after its style was taken away


@pytest.mark.parametrize("old", [True, False])
async def test_a_style_picture_may_come_before_the_engine(bus: Bus, old: bool) -> None:
    """As OBS sends that of a saved scene, right after WELCOME."""

    def work() -> None:
        with bus.client("filter") as client:
            if old:
                client._request += 1
                assert client._send_picture(picture(7), Message(MessageType.STYLE_PICTURE, sequence=client._request))
                client._answer(client._request)
            else:
                client.set_plane("style_picture", picture(7))
            through(client, picture(1), 1)
            assert client.report()["parameters"]["style_picture"] is True

    await in_thread(work)
    assert not bus.lines, "nothing to complain of"


async def test_times_that_a_client_makes_up_are_no_latency(bus: Bus) -> None:
    """Neither in the statistics, nor for a sink (a virtual camera tells its delay), nor for Prometheus."""
    metrics, seen = Metrics(bus.core), []

    def work() -> None:
        for pts in (1, 2, 10**18, time.monotonic_ns() + 50 * 10**9):
            through(client, picture(1), pts)
            told = session.statistics()
            assert 0 <= told["latency_ms"] < 20_000 and 0 <= told["audio_offset_ms"] < 20_000

    with await in_thread(partial(bus.client, "filter")) as client:
        session = bus.core.sessions.get("one")
        assert session is not None
        session.listen(seen.append)
        metrics.follow()
        await in_thread(work)
        assert seen and all(0 <= result.arrived - result.source.captured < 20 * 10**9 for result in seen)
        lines = (await metrics.expose(0)).decode().splitlines()
    (total,) = (float(line.split()[1]) for line in lines if line.startswith("driftcam_glass_to_glass_seconds_sum"))
    assert 0 < total < 20 * len(seen)


async def test_the_style_picture_of_an_old_client_is_still_taken(bus: Bus) -> None:
    def work() -> None:
        with bus.client("filter") as client:
            through(client, picture(1), 1)
            client._request += 1
            old = Message(MessageType.STYLE_PICTURE, sequence=client._request)
            assert client._send_picture(picture(7), old)
            assert client._answer(client._request)["parameters"]["style_picture"] is True

    await in_thread(work)


async def test_an_old_client_gets_messages_as_it_knows_them(bus: Bus) -> None:
    """Byte for byte, but for the minor version: a RESULT without JSON, the same payload, opaque alpha."""
    told: list[Message] = []

    def work() -> None:
        with bus.client("filter", pixel_format=PixelFormat.BGRA8) as client:
            through(client, picture(200, 4), pts=1)
            client.send(picture(100, 4), pts=2)
            end = time.monotonic() + 10
            while client._result is None or client._result.pts != 2:
                assert time.monotonic() < end
                client._read(0.1)
            told.append(client._result)

    await in_thread(work)
    width, height = SIZE
    shape = {"width": width, "height": height, "stride": 4 * width, "payload_size": 4 * width * height}
    assert told == [
        Message(MessageType.RESULT, told[0].slot, pixel_format=2, sequence=told[0].sequence, pts=2, body={}, **shape)
    ]


@pytest.mark.parametrize("planes", [["mask"], "alpha", {"alpha": 1}, 3])
async def test_only_alpha_can_be_asked_for(bus: Bus, planes: Any) -> None:
    (answer,) = await exchange(bus, encode(Message(MessageType.HELLO, body={"role": "source", "planes": planes})))
    assert (answer.type, answer.body["field"]) == (MessageType.ERROR, "planes")


@pytest.mark.parametrize("language", ["python", "c", "c of version 1.0"])
async def test_the_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    bus = Bus(tmp_path / "driftcam")
    try:
        command: list = [sys.executable, "-m", "scripts.examples.source"]
        if language != "python":
            command = [tmp_path / "source"]
            old = ROOT / "tests" / "data" / "bus_1_0"
            code, header = (old, old) if "1.0" in language else (ROOT / "scripts" / "examples", ROOT / "obs_plugin")
            code = code / "source.c"
            flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", header]
            try:
                subprocess.run(["cc", *flags, code, "-o", command[0]], check=True)
            except FileNotFoundError:
                pytest.skip("no C compiler here")
        with subprocess.Popen(command) as source:
            try:
                await until(lambda: bus.core.sessions.get("example") is not None)
                sink = [sys.executable, "-m", "scripts.examples.sink", tmp_path]
                await in_thread(lambda: subprocess.run(sink, check=True, timeout=60))
                assert source.poll() is None
            finally:
                source.kill()
    finally:
        await bus.close()
    saved = [cv2.imread(str(path)) for path in sorted(tmp_path.glob("*.png"))]
    assert len(saved) == 10
    assert saved[0].shape == (SIZE[1], SIZE[0], 3)
    assert saved[0].std() > 5


async def test_garbage_ends_its_connection_and_nobody_elses(bus: Bus) -> None:
    def through_it() -> None:
        with bus.client("filter") as client:
            for data in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 9, MAGIC + b"\xff" * 200, b"x"):
                through(client, picture(9), pts=len(data))

    good = asyncio.create_task(in_thread(through_it))
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 9, MAGIC + b"\xff" * 200, encode(Message(MessageType.FRAME))):
        (answer,) = await exchange(bus, data)
        assert answer.type is MessageType.ERROR
    await good
