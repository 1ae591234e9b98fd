"""The virtual camera of a running daemon, seen by other programs through the real kernel module."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from driftcam.daemon.sinks.loopback import LoopbackCamera
from driftcam.daemon.sinks.virtualcam import find_device
from tests.system.vm.conftest import (
    FPS,
    HEIGHT,
    VERSIONS,
    WIDTH,
    Daemon,
    Viewer,
    as_video,
    frames_of,
    is_placeholder,
    loopback,
    until,
)

OPTIONS = "devices=1 video_nr=10 card_label=Driftcam exclusive_caps=1 max_buffers=2"
DEVICE = ["-d", "/dev/video10"]
SINK = f"virtualcam?size={WIDTH}x{HEIGHT}&fps={FPS}"
COLOURS = [(220, 40, 50), (30, 200, 60), (40, 60, 210), (128, 128, 128)]  # of the clip's quarters


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `clip.mp4`, four coloured quarters."""
    folder = tmp_path_factory.mktemp("camera")
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for number, colour in enumerate(COLOURS):
        y, x = number // 2 * HEIGHT // 2, number % 2 * WIDTH // 2
        image[y : y + HEIGHT // 2, x : x + WIDTH // 2] = colour
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FPS):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Iterator[str]:
    with loopback(request.param, OPTIONS):
        yield request.param


@pytest.fixture(scope="module")
def daemon(version: str, folder: Path) -> Iterator[Daemon]:
    daemon = start(folder)
    yield daemon
    daemon.end()


@pytest.fixture
def viewer(daemon: Daemon, folder: Path) -> Iterator[Viewer]:
    until(shows_something, "it is a camera")
    viewer = Viewer(folder)
    yield viewer
    viewer.end()
    print(daemon.words, viewer.log.read_text()[-300:], viewer.count, sep="\n")  # shown where the test failed


def shows_something() -> bool:
    """Whether programs see a camera."""
    return b"Video Capture" in subprocess.run(["v4l2-ctl", *DEVICE, "-D"], capture_output=True).stdout


def start(folder: Path, sink: str = SINK) -> Daemon:
    return Daemon(folder, "--source", "clip:clip.mp4", "--sink", sink, "--size", f"{WIDTH}x{HEIGHT}")


def quarters(i420: np.ndarray) -> np.ndarray:
    """(4, 3) Y, Cb, Cr in the middle of each quarter."""
    planes = [i420[:HEIGHT], *i420[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)]
    return np.array(
        [[plane[len(plane) * y // 4, plane.shape[1] * x // 4] for plane in planes] for y in (1, 3) for x in (1, 3)]
    )


def shows_the_clip(i420: np.ndarray) -> bool:
    """The stand-in engine makes a negative."""
    expected = np.array([as_video(tuple(255 - value for value in colour)) for colour in COLOURS])
    return bool(np.abs(quarters(i420) - expected).max() <= 4)


def test_a_device_is_made_where_a_module_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By v4l2loopback-ctl, as root; the camera of another program is left alone."""
    monkeypatch.setenv("PATH", f"{os.environ['VM_CACHE']}:{os.environ['PATH']}")
    if shutil.which("v4l2loopback-ctl") is None:
        pytest.skip("v4l2loopback-ctl could not be had")
    with loopback("0.15.0", "devices=1 video_nr=10 card_label=OBS exclusive_caps=1"):
        device = find_device(None)
        assert device != "/dev/video10"
        assert Path("/sys/class/video4linux", Path(device).name, "name").read_text() == "Driftcam\n"
        assert find_device(None) == device
        camera = LoopbackCamera(device, WIDTH, HEIGHT, FPS)
        camera.open()
        camera.send(np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8))
        camera.close()


def test_pixels_format_and_rate(version: str, daemon: Daemon, viewer: Viewer) -> None:
    viewer.sees(shows_the_clip, "the clip's colours, as a negative")
    said = subprocess.run(["v4l2-ctl", *DEVICE, "-D", "-V", "-P"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Card type\s+: Driftcam", said)
    assert re.search(rf"Width/Height\s+: {WIDTH}/{HEIGHT}", said)
    assert "'YU12'" in said
    assert f"{FPS}.000" in said
    # Chromium takes for a camera what can capture and not put out.
    assert re.search(r"Device Caps[^\n]*\n\s+Video Capture\n", said)
    assert "Video Output" not in said
    period = 1000 / FPS
    until(
        lambda: len(viewer.intervals_ms()) > FPS and abs(np.median(viewer.intervals_ms()) - period) < 0.1 * period,
        "beat",
    )


def test_opencv_sees_the_same(daemon: Daemon) -> None:
    until(lambda: shows_something() and shows_the_clip(frames_of(1, daemon.log.parent)[0]), "the clip")
    camera = cv2.VideoCapture("/dev/video10", cv2.CAP_V4L2)
    there, image = camera.read()
    camera.release()
    assert there
    assert image.shape == (HEIGHT, WIDTH, 3)
    for number, colour in enumerate(COLOURS):
        seen = image[HEIGHT * (1 + number // 2 * 2) // 4, WIDTH * (1 + number % 2 * 2) // 4, ::-1]
        assert np.abs(seen.astype(int) - (255 - np.array(colour))).max() <= 8


def test_viewers_come_and_go(daemon: Daemon, folder: Path) -> None:
    until(shows_something, "it is a camera")
    for count in (1, 5, 2, 1):
        assert shows_the_clip(frames_of(count, folder)[-1])


def test_a_stuck_engine_shows_a_placeholder_until_it_goes_on(daemon: Daemon, viewer: Viewer) -> None:
    viewer.sees(shows_the_clip, "the clip")
    worker = daemon.worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        viewer.sees(is_placeholder, "the placeholder")
        before = viewer.count
        until(lambda: viewer.count > before + FPS, "it is sent again and again")
    finally:
        os.kill(worker, signal.SIGCONT)
    viewer.sees(shows_the_clip, "the clip again")


def test_a_suspended_machine_goes_on_without_a_burst(daemon: Daemon, viewer: Viewer) -> None:
    """Stopped as by a suspend, with a clock that jumps meanwhile."""
    viewer.sees(shows_the_clip, "the clip")
    daemon.process.send_signal(signal.SIGSTOP)
    subprocess.run(["date", "-s", "+1 hour"], check=True, capture_output=True)
    time.sleep(1)
    before = viewer.count
    time.sleep(2)
    assert viewer.count == before
    daemon.process.send_signal(signal.SIGCONT)
    viewer.sees(shows_the_clip, "the clip again")
    until(lambda: len(since_the_gap(viewer)) >= 5, "five more pictures")
    assert sum(since_the_gap(viewer)[:5]) > 2.5 * 1000 / FPS


def since_the_gap(viewer: Viewer) -> list[float]:
    """Intervals in ms after the longest one."""
    intervals = viewer.intervals_ms()
    return intervals[int(np.argmax(intervals)) + 1 :]


def test_one_producer_only(version: str, daemon: Daemon, viewer: Viewer, tmp_path: Path) -> None:
    viewer.sees(shows_the_clip, "the clip")
    second = Daemon(tmp_path, "--source", "test", "--sink", SINK)
    assert second.process.wait(60) == 2
    (line,) = [line for line in second.words.splitlines() if line.startswith("driftcam:")]
    assert "virtualcam:/dev/video10" in line
    assert "no other program writes to" in line
    viewer.sees(shows_the_clip, "the clip, unharmed")


def test_it_survives_kill_9_and_restarts_with_a_viewer_and_without(
    daemon: Daemon, viewer: Viewer, folder: Path
) -> None:
    """The viewer keeps its descriptor meanwhile."""
    viewer.sees(shows_the_clip, "the clip")
    daemon.process.kill()
    daemon.process.wait(20)
    # Another size is asked for, but a program that has the camera open would not notice: it stays.
    second = start(folder, "virtualcam?size=160x120")
    try:
        viewer.sees(shows_the_clip, "the second daemon's clip, at the size of the first")
        assert "a program has it open at 320×240" in second.words
    finally:
        second.process.kill()
        second.process.wait(20)
        viewer.end()
    third = start(folder)
    try:
        until(shows_something, "it is a camera again")
        until(lambda: shows_the_clip(frames_of(1, folder)[0]), "the third daemon's clip")
    finally:
        third.end()
