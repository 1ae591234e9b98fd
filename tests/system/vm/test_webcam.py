"""The webcam source on a real V4L2 device, fed by FFmpeg, which is unplugged and comes back."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from driftcam.daemon.sources.webcam import CaptureFormat, WebcamSource
from driftcam.engines.api import ParameterError
from tests.system.vm.conftest import FPS, HEIGHT, WIDTH, Daemon, Viewer, is_all, is_placeholder, loopback, until

OPTIONS = "devices=2 video_nr=10,11 card_label=Driftcam,Webcam exclusive_caps=1,1 max_buffers=2"
VERSION = "0.15.0"
WEBCAM = "/dev/video11"
YELLOW = (255, 255, 0)


class Webcam:
    """FFmpeg that puts out one colour."""

    def __init__(self, colour: str, pixel_format: str = "yuyv422", codec: str = "rawvideo") -> None:
        picture = f"color=c={colour}:size={WIDTH}x{HEIGHT}:rate={FPS}"
        command = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", picture, "-pix_fmt", pixel_format]
        self.process = subprocess.Popen([*command, "-c:v", codec, "-f", "v4l2", WEBCAM])
        until(
            lambda: b"Video Capture" in subprocess.run(["v4l2-ctl", "-d", WEBCAM, "-D"], capture_output=True).stdout,
            "webcam",
        )

    def unplug(self) -> None:
        self.process.kill()
        self.process.wait(20)


class Reader:
    """Takes frames in a thread, as the daemon does."""

    def __init__(self, source: WebcamSource) -> None:
        self.stop, self.colour, self.count = threading.Event(), np.zeros(3), 0
        self.thread = threading.Thread(target=self.read, args=[source])
        self.thread.start()

    def read(self, source: WebcamSource) -> None:
        for picture in source.frames(self.stop, paced=True):
            self.colour = picture.image.mean((0, 1))
            self.count += 1

    def sees(self, colour: tuple[int, int, int]) -> None:
        start = self.count
        until(lambda: self.count > start and np.abs(self.colour - colour).max() < 12, f"{colour}")

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.mark.parametrize(
    ("fourcc", "pixel_format", "codec"), [("YUYV", "yuyv422", "rawvideo"), ("MJPG", "yuvj420p", "mjpeg")]
)
def test_a_webcam_is_read_unplugged_and_comes_back(fourcc: str, pixel_format: str, codec: str) -> None:
    said: list[str] = []
    with loopback(VERSION, OPTIONS):
        with pytest.raises(ParameterError, match="no camera that gives pictures at /dev/video11"):
            WebcamSource(11, said.append)
        webcam = Webcam("red", pixel_format, codec)
        source = WebcamSource(11, said.append, CaptureFormat((WIDTH, HEIGHT), FPS, fourcc))
        assert (source.info.width, source.info.height, source.info.fps) == (WIDTH, HEIGHT, FPS)
        assert not said, "it gives what it was asked for"
        reader = Reader(source)
        reader.sees((255, 0, 0))
        webcam.unplug()
        until(lambda: "the camera is gone" in "".join(said), "its absence is noticed")
    # Now the device itself is gone, as when a cable is pulled.
    time.sleep(2)
    with loopback(VERSION, OPTIONS):
        webcam = Webcam("blue", pixel_format, codec)
        reader.sees((0, 0, 255))
        assert [line.split(": ")[1].split(";")[0] for line in said] == ["the camera is gone", "the camera is back"]
        reader.end()
        webcam.unplug()


@pytest.fixture
def webcam() -> Iterator[Webcam]:
    with loopback(VERSION, OPTIONS):
        webcam = Webcam("yellow")
        try:
            yield webcam
        finally:
            webcam.unplug()


def test_a_wish_that_is_not_fulfilled_is_told(webcam: Webcam) -> None:
    """v4l2loopback takes any frame rate, but only the producer's size and format."""
    said: list[str] = []
    source = WebcamSource(11, said.append, CaptureFormat((640, 480), 30, "MJPG"))
    assert said == ["webcam:11: the camera gives 320x240 instead of 640x480, YUYV instead of MJPG"]
    assert (source.info.width, source.info.height) == (WIDTH, HEIGHT)
    frames = source.frames(threading.Event(), paced=True)
    assert np.abs(next(frames).image.mean((0, 1)) - YELLOW).max() < 12
    frames.close()


def test_from_camera_to_camera(webcam: Webcam, tmp_path: Path) -> None:
    """A whole daemon between two devices, while the first one is away and back."""
    size = f"{WIDTH}x{HEIGHT}"
    daemon = Daemon(tmp_path, "--source", "webcam:11", "--sink", f"virtualcam?size={size}&fps={FPS}", "--size", size)
    shown = ["v4l2-ctl", "-d", "/dev/video10", "-D"]
    until(lambda: b"Video Capture" in subprocess.run(shown, capture_output=True).stdout, "a camera")
    viewer = Viewer(tmp_path)
    try:
        viewer.sees(is_all((0, 0, 255)), "the negative of yellow")
        webcam.unplug()
        viewer.sees(is_placeholder, "the placeholder")
        assert "the camera is gone" in daemon.words
        again = Webcam("blue")
        viewer.sees(is_all(YELLOW), "the negative of blue")
        again.unplug()
    finally:
        viewer.end()
        daemon.end()
