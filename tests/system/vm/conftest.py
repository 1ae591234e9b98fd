"""Real v4l2loopback devices in the virtual machine that `boot.sh` starts, and programs that use them."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

IN_THE_MACHINE = "driftcam-vm=" in Path("/proc/cmdline").read_text()
VERSIONS = ["0.12.7", "0.15.0"]
WIDTH, HEIGHT, FPS = 320, 240, 15
FRAME_BYTES = WIDTH * HEIGHT * 3 // 2
ROOT = Path(__file__).parents[3]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "system/vm" in str(item.path) and not IN_THE_MACHINE:
            item.add_marker(pytest.mark.skip(reason="only in the virtual machine: make test-vm"))


def until(condition: Callable[[], object], what: str, timeout: float = 90) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not after {timeout:g} s: {what}"
        time.sleep(0.1)


@contextlib.contextmanager
def loopback(version: str, options: str) -> Iterator[None]:
    """The module in the kernel; who used it must be gone by the end."""
    module = Path(os.environ["VM_CACHE"]) / f"v4l2loopback-{version}.ko"
    if not module.exists():
        pytest.skip(f"v4l2loopback {version} could not be had")
    subprocess.run(["/sbin/insmod", module, *options.split()], check=True)
    try:
        yield
    finally:
        until(lambda: not subprocess.run(["/sbin/rmmod", "v4l2loopback"]).returncode, "the module can be unloaded", 20)


class Daemon:
    """A `driftcam run` in the background, with the stand-in engine unless told otherwise."""

    def __init__(self, folder: Path, *arguments: str, module: str = "tests.system.vm.standin_daemon") -> None:
        self.log = folder / "daemon.log"
        kernels = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": f"{os.environ['VM_CACHE']}/kernels"}  # from run.sh
        environment = os.environ | kernels
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "run", *arguments], stderr=log, cwd=folder, env=environment
            )

    @property
    def words(self) -> str:
        return self.log.read_text()

    def worker(self) -> int:
        """The process id of the engine."""
        pid = self.process.pid
        until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text(), "the engine runs")
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


class Viewer:
    """v4l2-ctl with the camera open: an independent program that writes down what it sees."""

    def __init__(self, folder: Path, device: str = "/dev/video10") -> None:
        self.path, self.log = folder / "seen.yuv", folder / "viewer.log"
        self.path.unlink(missing_ok=True)
        command = ["v4l2-ctl", "-d", device, "--stream-mmap=2", f"--stream-to={self.path}", "--verbose"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def count(self) -> int:
        return self.path.stat().st_size // FRAME_BYTES if self.path.exists() else 0

    def newest(self) -> np.ndarray:
        """The last whole frame: (HEIGHT × 3 / 2, WIDTH) u8, I420."""
        with self.path.open("rb") as file:
            file.seek((self.count - 1) * FRAME_BYTES)
            return np.frombuffer(file.read(FRAME_BYTES), np.uint8).reshape(HEIGHT * 3 // 2, WIDTH)

    def intervals_ms(self) -> list[float]:
        """Between the frames of the last two seconds."""
        return [float(ms) for ms in re.findall(r"delta: ([0-9.]+) ms", self.log.read_text())][-2 * FPS :]

    def sees(self, condition: Callable[[np.ndarray], object], what: str) -> None:
        """Wait until a new frame is as it should be."""
        start = self.count
        until(lambda: self.count > start and condition(self.newest()), what)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(20)


def frames_of(count: int, folder: Path, device: str = "/dev/video10") -> np.ndarray:
    """What a program sees that opens the camera, reads `count` frames and closes it."""
    path = folder / "short.yuv"
    command = ["v4l2-ctl", "-d", device, "--stream-mmap=2", f"--stream-count={count}", f"--stream-to={path}"]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return np.fromfile(path, np.uint8).reshape(count, HEIGHT * 3 // 2, WIDTH)


def as_video(colour: tuple[int, int, int]) -> np.ndarray:
    """RGB of 0 to 255 as Y, Cb, Cr of ITU-R BT.601 in the range of video."""
    red, green, blue = (value / 255 for value in colour)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.array([16 + 219 * luma, 128 + 224 * (blue - luma) / 1.772, 128 + 224 * (red - luma) / 1.402])


def is_all(colour: tuple[int, int, int]) -> Callable[[np.ndarray], bool]:
    """Whether an I420 picture is `colour`, but for noise."""

    def check(i420: np.ndarray) -> bool:
        planes = [i420[:HEIGHT], *i420[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)]
        return all(np.abs(plane - value).mean() < 6 for plane, value in zip(planes, as_video(colour), strict=True))

    return check


def is_placeholder(i420: np.ndarray) -> bool:
    """Dark, with light letters."""
    return bool(np.median(i420[:HEIGHT]) < 60 and i420[:HEIGHT].max() > 150)
