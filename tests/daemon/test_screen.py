"""The screen as a source, on a real X server whose pixels are written from outside."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from driftcam.daemon.config.specs import parse_source
from driftcam.daemon.sources import screen
from driftcam.daemon.sources.opening import open_source
from driftcam.daemon.sources.screen import ScreenSource
from driftcam.engines.api import ParameterError

WIDTH, HEIGHT = 320, 200


class Display:
    """Xvfb, which keeps its screen in a file: an X window dump."""

    def __init__(self, folder: Path, number: str = "") -> None:
        ours, theirs = os.pipe()
        command = ["Xvfb", *([number] if number else []), "-displayfd", str(theirs), "-noreset"]
        command += ["-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-fbdir", str(folder)]
        self.process = subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.DEVNULL)
        os.close(theirs)
        with os.fdopen(ours) as pipe:
            self.name = f":{pipe.readline().strip()}"
        path = folder / "Xvfb_screen0"
        head = struct.unpack(">25I", path.read_bytes()[:100])
        start = head[0] + 12 * head[19]
        self.pixels = np.memmap(path, np.uint8, "r+", start, (HEIGHT, head[12] // 4, 4))[:, :WIDTH]

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Display]:
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no Xvfb")
    display = Display(tmp_path)
    monkeypatch.setenv("DISPLAY", display.name)
    yield display
    display.end()


def silent(line: str) -> None:
    raise AssertionError(f"nothing should be said, not {line!r}")


def test_the_screen_is_seen_with_its_colours_and_its_changes(display: Display) -> None:
    display.pixels[:] = (10, 20, 200, 0)  # blue, green, red
    source = open_source(parse_source("screen?fps=50"), silent)
    assert (source.info.width, source.info.height, source.info.fps, source.info.waits) == (WIDTH, HEIGHT, 50.0, False)
    stop = threading.Event()
    frames = source.frames(stop, paced=True)
    assert (next(frames).image == (200, 20, 10)).all()
    display.pixels[:, 100:] = (250, 0, 0, 0)
    image = next(frames).image
    assert (image[:, :100] == (200, 20, 10)).all()
    assert (image[:, 100:] == (0, 0, 250)).all()
    stop.set()
    assert list(frames) == []


def test_a_part_of_the_screen(display: Display) -> None:
    display.pixels[:] = 0
    display.pixels[50:90, 30:94] = 255
    source = open_source(parse_source("screen:1?area=64x40+30+50"), silent)
    assert (next(source.frames(threading.Event(), paced=True)).image == 255).all()
    assert (source.info.width, source.info.height) == (64, 40)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("screen:3", "there is 1 monitor, so write screen:1"),
        ("screen?area=300x100+100+0", "area=300x100\\+100\\+0' cannot be used; the screen has 320x200"),
    ],
)
def test_what_is_not_on_the_screen_is_refused(display: Display, spec: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        open_source(parse_source(spec), silent)


def test_no_screen_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(ParameterError, match="the screen cannot be read") as refused:
        ScreenSource(0, None, None, silent)
    assert "\n" not in str(refused.value)


def test_a_screen_that_ends_is_waited_for(display: Display, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The display server crashes and comes back: the process lives on."""
    monkeypatch.setattr(screen, "RETRY_S", 0.05)
    said: list[str] = []
    source = ScreenSource(0, None, 50, said.append)
    stop, seen = threading.Event(), []
    thread = threading.Thread(target=lambda: seen.extend(p.captured for p in source.frames(stop, paced=True)))
    thread.start()
    display.end()
    until = time.monotonic() + 20
    while not said:
        assert time.monotonic() < until
        time.sleep(0.02)
    again = Display(tmp_path, display.name)
    while len(said) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    stop.set()
    thread.join(10)
    again.end()
    assert "the screen cannot be read any more" in said[0]
    assert said[1] == "screen: the screen is back"
