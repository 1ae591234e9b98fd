"""Bad input at the command line: one clear line, exit status 2, no traceback."""

from __future__ import annotations

import io
import socket
import wave
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import driftcam.daemon.run
from driftcam.daemon import cli
from driftcam.daemon.engine.process import worker_command
from tests.daemon import standin
from tests.daemon.conftest import read_clip, write_clip


@pytest.fixture(autouse=True)
def standin_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        driftcam.daemon.run, "worker_command", lambda engine, options: worker_command(standin.NAME, options)
    )
    monkeypatch.chdir(tmp_path)


def sound_with_cover(path: Path) -> None:
    """An audio file whose cover FFmpeg reports as a video stream."""
    picture = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    with av.open(str(path), "w", format="mp3") as container:
        audio = container.add_stream("libmp3lame", rate=44_100)
        cover = container.add_stream("png")
        cover.width = cover.height = 16
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.start_encoding()
        packet = av.Packet(picture)
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152 * 2), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 44_100, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))


def broken_clip(path: Path) -> None:
    """A header, and no picture that can be decoded."""
    whole = write_clip(path).read_bytes()
    start = whole.index(b"mdat") + 4
    path.write_bytes(whole[:start] + bytes(len(whole) - start) if start > len(whole) / 2 else whole[:start])


MADE: dict[str, Callable[[Path], object]] = {
    "good.mp4": write_clip,
    "empty.mp4": lambda path: path.write_bytes(b""),
    "noise.mp4": lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)),
    "text.mp4": lambda path: path.write_text("this is not a video\n" * 100),
    "headless.mp4": broken_clip,
    "sound.wav": sound,
    "cover.mp3": sound_with_cover,
    "folder.mp4": lambda path: path.mkdir(),
    "note.txt": lambda path: path.write_text("not a picture"),
}
GOOD = ["--source", "clip:good.mp4", "--sink", "file:out.mp4", "--size", "64"]
CASES = [
    (["--source", "clip:missing.mp4"], "source: 'missing.mp4' cannot be used; there is no such file"),
    (["--source", "clip:empty.mp4"], "cannot be read as a video"),
    (["--source", "clip:noise.mp4"], "cannot be read as a video"),
    (["--source", "clip:text.mp4"], "cannot be read as a video"),
    (["--source", "clip:headless.mp4"], "source: 'headless.mp4'"),
    (["--source", "clip:folder.mp4"], "cannot be read as a video"),
    (["--source", "clip:sound.wav"], "it has sound but no video"),
    (["--source", "clip:cover.mp3"], "it has sound but no video"),
    (["--source", "clip:"], "write clip:PATH"),
    (["--source", "webcam:87"], "there is no camera that gives pictures at /dev/video87"),
    (["--source", "webcam:front"], "write webcam or webcam:N"),
    (["--source", "webcam?size=huge"], "write size=WIDTHxHEIGHT in pixels, for example size=1280x720"),
    (["--source", "webcam:0?fps=0"], "write fps=FRAMES_A_SECOND, for example fps=30"),
    (["--source", "webcam?zoom=2"], "webcam has no option 'zoom'; write webcam[:N][?size=WxH&fps=F&format=MJPG]"),
    (["--source", "screen:first"], "write screen for everything, or screen:N for the Nth monitor"),
    (["--source", "screen?area=10"], "write area=WIDTHxHEIGHT+X+Y in pixels"),
    (["--source", "url:good.mp4"], "write url: and an address with rtsp, rtsps, http"),
    (["--source", "url:file:///etc/passwd"], "write url: and an address with rtsp, rtsps, http"),
    (["--source", "url:http://127.0.0.1:9/live"], "it cannot be played (Connection refused)"),
    (["--sink", "virtualcam?size=10x"], "write size=WIDTHxHEIGHT"),
    (["--sink", "virtualcam?size=641x480"], "give an even width and height"),
    (["--source", "clipp:a.mp4"], "write clip:PATH"),
    (["--sink", "file:nowhere/out.mp4"], "there is no folder 'nowhere'"),
    (["--sink", "file:folder.mp4"], "it cannot be written (Is a directory)"),
    (["--sink", "file:/proc/version.mp4"], "sink: 'file:/proc/version.mp4' cannot be used"),
    (["--sink", "file:out.avi"], "a name that ends in .mp4"),
    (["--sink", "file:good.mp4"], "it is the source itself"),
    (["--sink", "file:out.mp4"], "give it once"),
    (["--sink", "virtualcam:/dev/video86"], "modprobe v4l2loopback devices=1 video_nr=10"),
    (["--sink", "page", "--listen", "0.0.0.0:8900"], "only served to this machine"),
    (["--sink", "page", "--listen", "nonsense"], "write HOST:PORT"),
    (["--style", "stary-night"], "did you mean starry-night"),
    (["--style", "weave:much"], "write NAME or NAME:WEIGHT"),
    (["--prompt", "qqqq zzzz"], "no word fits a style"),
    (["--style-image", "missing.png"], "style_image: 'missing.png' cannot be used; it cannot be read"),
    (["--style-image", "note.txt"], "it is not a picture that can be read"),
    (["--strength", "1.5"], "strength: 1.5 cannot be used; give a number from 0 to 1"),
    (["--strength", "lots"], "strength: 'lots' cannot be used; give a number from 0 to 1"),
    (["--steps", "0"], "steps: 0 cannot be used"),
    (["--noise", "warpd"], "did you mean warped"),
    (["--size", "100"], "give a multiple of 8"),
    (["--size", "big"], "size: 'big' cannot be used; write N or WIDTHxHEIGHT"),
    (["--frames", "0"], "frames: 0 cannot be used"),
    (["--weights", "damaged.safetensors"], "weights: 'damaged.safetensors' cannot be used; the file is damaged"),
    (["--solver", "lcm"], "solver: 'lcm' cannot be used; embedded models have: auto, euler, dpmpp"),
    (["--pipeline", "batch"], "pipeline: 'batch' cannot be used; choose from: auto, sequential, stream"),
    (
        ["--backend", "directml"],
        "backend: 'directml' cannot be used; choose from: auto, tensorrt, torch-cuda, openvino",
    ),
    (["--device", "-3"], "device: -3 cannot be used; give the number of a graphics card, from 0"),
    (["--device", "first"], "argument --device: invalid int value: 'first'"),
    (["--precision", "int8"], "precision: 'int8' cannot be used; choose from: auto, fp32, fp16, bf16, fp8"),
    (["--report", "nowhere/report.json"], "report: 'nowhere/report.json' cannot be used"),
]


@pytest.mark.parametrize(("arguments", "words"), CASES, ids=[" ".join(arguments) for arguments, _ in CASES])
def test_bad_input_is_one_clear_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    for name in MADE.keys() & {"good.mp4", *(argument.rpartition(":")[2] for argument in arguments)}:
        MADE[name](tmp_path / name)
    assert status(["run", *GOOD, *arguments]) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line]
    lines = [line for line in said if line.startswith("driftcam: ")]
    assert said[0] == lines[-1], said
    assert words in "\n".join(said)
    assert "Traceback" not in "\n".join(said)
    assert len(said) == 1 or "virtualcam" in arguments[1], "only the recipe for a device has more lines"
    if (tmp_path / "out.mp4").exists():
        assert read_clip(tmp_path / "out.mp4"), "what is left of a run plays"


def status(arguments: list[str]) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as end:  # argparse
        return int(end.code or 0)


def test_a_port_that_is_taken_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert status(["run", "--source", "test", "--sink", "page", "--listen", address]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"driftcam: listen: '{address}' cannot be used; choose another address or port")


def test_an_existing_file_survives_a_run_that_cannot_start(tmp_path: Path) -> None:
    write_clip(tmp_path / "good.mp4")
    before = write_clip(tmp_path / "out.mp4", 3).read_bytes()
    assert status(["run", *GOOD, "--weights", "damaged.safetensors"]) == 2
    assert (tmp_path / "out.mp4").read_bytes() == before


def test_a_clip_that_is_damaged_in_the_middle_gives_what_can_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(write_clip(tmp_path / "good.mp4", 60).read_bytes())
    middle = (data.index(b"mdat") + data.index(b"moov")) // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "good.mp4").write_bytes(data)
    assert status(["run", *GOOD]) == 0
    assert "Traceback" not in capfd.readouterr().err
    assert len(read_clip(tmp_path / "out.mp4")) >= 20


def test_the_command_line_does_the_main_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "good.mp4")
    arguments = ["--style", "great-wave:2,inferno", "--strength", "0.8", "--seed", "7", "--report", "report.json"]
    assert status(["run", *GOOD, *arguments]) == 0
    assert len(read_clip(tmp_path / "out.mp4")) == 20
    assert '"seed": 7' in (tmp_path / "report.json").read_text()
    assert "20 frames at" in capfd.readouterr().err


def test_styles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["styles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 20
    assert any(line.startswith("great-wave ") for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_bar_is_for_terminals_only() -> None:
    from driftcam.daemon.commands.progress import ProgressBar, bar
    from driftcam.daemon.run import Progress

    assert bar(Progress(25, 100, 12.5), 2.0) == "███████" + "█" + "░" * 22 + " 25/100  12.5 fps  6 s left"
    assert bar(Progress(25, None, 12.5), 2.0) == "25 frames  12.5 fps"
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        ProgressBar(stream)(Progress(1, 1, 5.0))
        assert bool(stream.getvalue()) is shown
