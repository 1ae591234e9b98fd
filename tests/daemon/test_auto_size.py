"""`size = auto` from the session's side: the engine chooses when it takes a stream up, a size that was asked for wins.

The engine's process is real; what it would measure is in the environment (`AUTO_SIDE`, or `dies`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from driftcam.daemon.bus.hello import parse_hello
from driftcam.daemon.config.config import Config
from driftcam.daemon.config.specs import parse_model_size
from driftcam.daemon.engine.process import worker_command
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.model_files import ModelFiles
from driftcam.engines.api.sizes import DEFAULT_AREA, model_size
from driftcam.engines.worker.main import OneByOne
from tests.daemon import standin
from tests.daemon.conftest import start_run
from tests.daemon.test_serve import CONFIG, serving
from tests.daemon.test_supervision import Fed, running, until

NAME = "tests.daemon.test_auto_size:Host"


class Found:
    side = int(os.environ.get("AUTO_SIDE", "0"))

    def __str__(self) -> str:
        return f"{self.side}², measured"


class Host(OneByOne):
    """The stand-in, with something to say about sizes."""

    def __init__(self, model: ModelFiles) -> None:
        super().__init__(standin.Engine, model)
        self._opened = 0

    def open(self, parameters: Parameters) -> Any:
        self._opened += 1
        return super().open(parameters)

    def live_size(self, parameters: Parameters, *, alone: bool) -> Found:
        if os.environ.get("AUTO_DIES"):
            os._exit(1)
        time.sleep(float(os.environ.get("AUTO_SECONDS", "0")))
        assert alone == (self._opened == 0)
        return Found()


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTO_SIDE", "512")


WIDE = Parameters(width=512, height=288)


async def test_sessions_without_a_size_get_the_engines_in_their_shape_and_it_is_told_once() -> None:
    async with running(worker_command(NAME)) as (core, lines):
        core.sessions.auto_size = True
        first, second = Fed(core, "first", 10, WIDE), Fed(core, "second", 20, WIDE.replace(width=384, height=384))
        fixed = core.sessions.open("fixed", WIDE, own_size=True)
        for part in (first, second):
            await until(lambda part=part: bool(part.viewer.results))
            await part.more(3)
        await fixed.opened()
        assert first.viewer.results[-1].image.shape[:2][::-1] == model_size(512, 288, 512 * 512)
        assert second.viewer.results[-1].image.shape == (512, 512, 3)
        assert fixed.control.parameters == WIDE
        assert [line for line in lines if "size" in line] == ["size auto: 512², measured"]


async def test_a_size_asked_for_while_it_is_measured_wins_and_other_changes_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTO_SECONDS", "0.5")
    async with running(worker_command(NAME)) as (core, _):
        core.sessions.auto_size = True
        chosen, turned = Fed(core, "chosen", 10, WIDE), Fed(core, "turned", 20, WIDE)
        await chosen.session.control.change({"width": 128, "height": 64})
        await asyncio.sleep(0.3)
        await turned.session.control.change({"width": 288, "height": 512, "strength": 0.25})  # another shape alone
        for part in (chosen, turned):
            await until(lambda part=part: bool(part.viewer.results))
            await part.more(3)
        assert chosen.viewer.results[-1].image.shape == (64, 128, 3)
        assert turned.viewer.results[-1].image.shape[:2][::-1] == model_size(288, 512, 512 * 512)
        assert turned.session.control.parameters.strength == 0.25


def test_a_running_daemon_is_told_to_choose_the_size_and_says_when_it_does(tmp_path: Path) -> None:
    with serving(tmp_path, CONFIG.replace("tests.daemon.standin:Engine", NAME)) as served:
        served.until(lambda: served.state()["delivered"] > 0)
        assert served.state()["parameters"]["width"] == 128
        path = tmp_path / ".config" / "driftcam" / "config.toml"
        path.write_text(path.read_text().replace("128x64", "auto"))
        served.process.send_signal(signal.SIGHUP)
        served.until(lambda: "live.size = auto is measured when an engine starts" in served.log)
        assert served.state()["parameters"]["width"] == 128
        assert served.ctl("restart-engine").returncode == 0
        served.until(lambda: served.state()["parameters"]["width"] > 128)
        told = served.state()["parameters"]
        assert (told["width"], told["height"]) == model_size(128, 64, 512 * 512)
        path.write_text(path.read_text().replace("auto", "64x64").replace('source = "test"', 'source = ""'))
        served.process.send_signal(signal.SIGHUP)
        served.until(lambda: served.state()["parameters"]["width"] == 64)


async def test_an_engine_that_dies_of_measuring_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTO_DIES", "1")
    async with running(worker_command(NAME)) as (core, _):
        core.sessions.auto_size = True
        part = Fed(core, "live", 10, WIDE)
        await part.more(3)
        assert part.session.control.parameters == WIDE


async def test_an_engine_that_cannot_measure_keeps_the_default() -> None:
    async with running() as (core, lines):
        core.sessions.auto_size = True
        part = Fed(core, "live", 10, WIDE)
        await part.more(3)
        assert part.session.control.parameters == WIDE and not [line for line in lines if "size" in line]


@pytest.mark.parametrize(
    ("sink", "size", "area"),
    [("page", None, 512 * 512), ("page", (128, 64), 128 * 64), ("file", None, DEFAULT_AREA), ("file", "auto", 512**2)],
)
async def test_run_leaves_the_size_open_for_what_is_live(
    clip: Path, tmp_path: Path, sink: str, size: object, area: int
) -> None:
    sinks = {"page": "page", "file": f"file:{tmp_path / 'out.mp4'}"}
    run = start_run(f"clip:{clip}", sinks[sink], engine=NAME, size=size)
    await run.until(lambda run: run.progress.done >= 3)
    report = await run.end()
    found = report.parameters["width"] * report.parameters["height"]
    assert found == pytest.approx(area, rel=0.12)


def test_the_words() -> None:
    assert parse_model_size("auto") is parse_model_size("") is None
    assert parse_model_size("512x288") == (512, 288)
    with pytest.raises(ParameterError, match=r"write N or WIDTHxHEIGHT.*or auto"):
        parse_model_size("large")
    assert Config().live.size == "auto"


@pytest.mark.parametrize(
    ("parameters", "own"), [(None, False), ({"seed": 3}, False), ({"width": 128, "height": 64}, True)]
)
def test_a_client_of_the_bus_that_gives_a_size_keeps_it(parameters: dict | None, own: bool) -> None:
    body = {"role": "source"} | ({"parameters": parameters} if parameters else {})
    assert parse_hello(body, Parameters()).own_size is own
