"""A real OBS under Xvfb with a home of its own, and its picture."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from driftcam.daemon.errors import RunError
from driftcam.daemon.obs.remote import Remote

ROOT = Path(__file__).parents[3]
CANVAS, FPS = (640, 360), 30
# Qt says this where OBS 29 is ended while it paints its window: it dies then, about once in a dozen ends, without any
# plugin too.
REPAINT = "Recursive repaint detected"
DRIFTCAM = (sys.executable, "-c", "import sys; from driftcam.daemon.cli import main; sys.exit(main())")
COMMAND = (
    *("--multi", "--profile", "ci", "--collection", "ci"),
    *("--disable-missing-files-check", "--unfiltered_log"),
)
START_PATIENCE = 60.0
PATIENCE = 30.0


def poll(condition: Callable[[], Any], what: str, timeout: float = PATIENCE, pause: float = 0.05) -> Any:
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(pause)
    return value


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@dataclass
class Obs:
    """A running OBS."""

    process: subprocess.Popen
    display: subprocess.Popen
    remote: Remote
    home: Path
    port: int
    password: str
    environment: dict[str, str]
    ended: int | None = None

    def picture(self, source: str, width: int = CANVAS[0], height: int = CANVAS[1]) -> np.ndarray:
        """What `source` shows: (height, width, 4) BGRA."""
        answer = self.remote.call(
            "GetSourceScreenshot", sourceName=source, imageFormat="png", imageWidth=width, imageHeight=height
        )
        data = base64.b64decode(answer["imageData"].split(",", 1)[1])
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image is not None, "OBS sent no picture"
        if image.shape[2] == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
        return image

    def colour(self, source: str) -> tuple[int, int, int, int]:
        """The median colour in the middle of `source`, RGBA."""
        b, g, r, a = np.median(self.picture(source)[120:240, 220:420].reshape(-1, 4), axis=0)
        return int(r), int(g), int(b), int(a)

    def streams(self) -> list[dict[str, Any]]:
        """What the plugin says of its filters and outputs."""
        return self.remote.vendor("stats")["streams"]

    def stream(self, source: str) -> dict[str, Any]:
        """What the plugin says of the filter on `source`, or of the output of that name."""
        return next(s for s in self.streams() if source in (s["source"], s["name"]))

    def log(self) -> str:
        """What OBS has printed so far."""
        return (self.home / "obs.log").read_text(errors="replace")

    def check_end(self) -> None:
        """OBS must end well and have given back all memory."""
        code = self.stop()
        if REPAINT not in self.log():
            assert code == 0
            assert "Number of memory leaks: 0" in self.log()

    def stop(self) -> int:
        """Ask OBS to end; the exit status."""
        if self.ended is None:
            with contextlib.suppress(RunError):
                self.remote.close()
            time.sleep(0.5)  # the window is painted
            self.process.send_signal(signal.SIGINT)
            try:
                self.ended = self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.ended = self.process.wait()
            self.display.terminate()
            self.display.wait(20)
        return self.ended


def start_obs(home: Path, plugins: Path, **extra: str) -> Obs:
    """OBS with the plugin below `plugins` (as `cmake --install` lays it out) and an empty collection."""
    port, password = free_port(), secrets.token_hex(8)
    write_configuration(home / "config" / "obs-studio", port, password)
    shutil.copytree(plugins, home / "config" / "obs-studio" / "plugins", dirs_exist_ok=True)
    runtime = home / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    display, number = start_display()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "OPENVINO_TELEMETRY_OPT_OUT")
    }
    environment |= {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_RUNTIME_DIR": str(runtime),
        "DISPLAY": f":{number}",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "QT_QPA_PLATFORM": "xcb",
        **extra,
    }
    with (home / "obs.log").open("w") as log:
        process = subprocess.Popen(
            ["obs", *COMMAND],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
        )
    try:
        remote = wait_for_remote(process, port, password)
    except BaseException:
        process.kill()
        process.wait()
        display.terminate()
        display.wait(20)
        raise
    return Obs(process, display, remote, home, port, password, environment)


def start_display() -> tuple[subprocess.Popen, int]:
    """An X server on a free display."""
    read, write = os.pipe()
    display = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        return display, int(pipe.readline())


def wait_for_remote(process: subprocess.Popen, port: int, password: str) -> Remote:
    """The websocket as soon as it answers and OBS is ready."""

    def connect() -> Remote | None:
        assert process.poll() is None, f"OBS ended with {process.returncode}"
        try:
            return Remote(password, port)
        except RunError:
            return None

    remote = poll(connect, "the websocket of OBS", START_PATIENCE, 0.1)
    remote.call("GetSceneList", patience=START_PATIENCE)
    return remote


def write_configuration(folder: Path, port: int, password: str) -> None:
    """A profile and a collection `ci`, and the websocket's settings where old and new OBS look for them."""
    profile = folder / "basic" / "profiles" / "ci"
    profile.mkdir(parents=True)
    (folder / "basic" / "scenes").mkdir()
    (folder / "plugin_config" / "obs-websocket").mkdir(parents=True)
    (folder / "global.ini").write_text(
        "[General]\nFirstRun=true\nLastVersion=486539266\nEnableAutoUpdates=false\n"
        "[BasicWindow]\nPreviewEnabled=false\n"
        f"[OBSWebSocket]\nFirstLoad=false\nServerEnabled=true\nServerPort={port}\nAuthRequired=true\n"
        f"ServerPassword={password}\nAlertsEnabled=false\n"
    )
    (folder / "plugin_config" / "obs-websocket" / "config.json").write_text(
        json.dumps(
            {
                "first_load": False,
                "server_enabled": True,
                "server_port": port,
                "auth_required": True,
                "server_password": password,
                "alerts_enabled": False,
            }
        )
    )
    width, height = CANVAS
    video = f"BaseCX={width}\nBaseCY={height}\nOutputCX={width}\nOutputCY={height}\nFPSType=0\nFPSCommon={FPS}\n"
    output = (  # a recording goes to an address, at once
        "FFOutputToFile=false\nFFFormat=mpegts\nFFVEncoder=libx264\nFFVEncoderId=27\nFFAEncoder=aac\n"
        "FFAEncoderId=86018\nFFIgnoreCompat=true\nFFVGOPSize=15\nFFVBitrate=2500\n"
        "FFVCustom=preset=ultrafast tune=zerolatency\n"
    )
    (profile / "basic.ini").write_text(
        f"[General]\nName=ci\n[Video]\n{video}[Output]\nMode=Advanced\n[AdvOut]\nRecType=FFmpeg\n{output}"
    )


def renders_on(obs: Obs, seconds: float) -> None:
    """OBS goes on rendering; not one frame in three may be missing, however busy the machine is."""

    def frames() -> int:
        return obs.remote.call("GetStats")["renderTotalFrames"]

    before, start = frames(), time.monotonic()
    time.sleep(seconds)
    assert frames() - before > (time.monotonic() - start) * FPS / 3
