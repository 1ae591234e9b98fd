"""Small clips made on the fly, and runs with the stand-in engine."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from driftcam.daemon.engine.state import Timeouts
from driftcam.daemon.run import Options, Progress, Report, run_async
from driftcam.engines.api import Parameters
from tests.daemon import standin

ROOT = Path(__file__).parents[2]
SIZE = (128, 64)
IMPATIENT = Timeouts(start=60, answer=2.0, backoff=0.05, backoff_most=0.2)


def grey_of(number: int) -> int:
    """The brightness of frame `number` of a test clip."""
    return 40 + number * 4 % 160


def numbered(number: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    image = np.full((height, width, 3), grey_of(number), np.uint8)
    image[: height // 4, : width // 4] = 250
    return image


def write_clip(
    path: Path,
    frames: int = 20,
    *,
    size: tuple[int, int] = SIZE,
    fps: int | Fraction = 10,
    rotation: int = 0,
    image: np.ndarray | None = None,
) -> Path:
    """Grey frames, each with a brightness of its own, and a bright upper left corner; or always the same `image`."""
    width, height = size if image is None else (image.shape[1], image.shape[0])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = 1 / Fraction(fps)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered(number, size) if image is None else image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_clip(path: Path) -> list[tuple[float, np.ndarray]]:
    """Time in seconds and RGB picture of every frame."""
    with av.open(str(path)) as container:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@dataclass
class Running:
    """A run in the background, and what it said."""

    task: asyncio.Task[Report]
    stop: asyncio.Event
    lines: list[str] = field(default_factory=list)
    progress: Progress = field(default_factory=lambda: Progress(0, None, 0.0))
    address: str = ""

    async def until(self, condition: Callable[[Running], bool], timeout: float = 30.0) -> None:
        """Wait for `condition`; fails when the run ends before."""
        async with asyncio.timeout(timeout):
            while not condition(self):
                if self.task.done():
                    self.task.result()
                    raise AssertionError("the run ended before")
                await asyncio.sleep(0.02)

    async def end(self) -> Report:
        self.stop.set()
        return await self.task


def start_run(source: str, *sinks: str, **options: object) -> Running:
    """With the stand-in engine, 128×64 and short timeouts unless told otherwise."""
    values: dict = {"engine": standin.NAME, "size": SIZE, "timeouts": IMPATIENT, "listen": "127.0.0.1:0"} | options
    stop = asyncio.Event()
    run = Running(task=None, stop=stop)  # type: ignore[arg-type]
    run.task = asyncio.create_task(
        run_async(
            Options(source, sinks, **values),
            stop=stop,
            notify=run.lines.append,
            on_progress=lambda progress: setattr(run, "progress", progress),
            on_page=lambda address: setattr(run, "address", address),
        )
    )
    return run


def with_seed(seed: int) -> Parameters:
    return Parameters(seed=seed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """96 KB of disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", folder], check=True)
