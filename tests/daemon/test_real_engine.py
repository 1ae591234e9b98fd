"""The main job with the real engine and the embedded model, at the smallest size."""

from __future__ import annotations

import shutil
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import pytest

import driftcam.engines.models.embedded
from driftcam.daemon import cli
from driftcam.daemon.engine.state import Timeouts
from driftcam.daemon.sinks.mp4 import Mp4Writer
from driftcam.daemon.sources.pattern import draw
from driftcam.engines.api import Parameters
from driftcam.engines.api.fitting import fit_image
from tests.daemon.conftest import Running, read_clip, start_run

SIZE = (96, 64)
WEIGHTS = Path(driftcam.engines.models.embedded.__file__).parent / "weights"


def write_scene(path: Path, frames: int = 6) -> Path:
    """The first frames of the moving test pattern as a clip."""
    with path.open("w+b", buffering=0) as file:
        writer = Mp4Writer(file, 160, 96, 30)
        for number in range(frames):
            writer.add(cv2.resize(draw(number), (160, 96)), round(number * 1e9 / 30))
        writer.close()
    return path


def run_real(*source_and_sinks: str, parameters: Parameters) -> Running:
    return start_run(*source_and_sinks, engine=None, size=SIZE, parameters=parameters, timeouts=Timeouts())


async def stylise(clip: Path, out: Path, **parameters: object) -> list[np.ndarray]:
    values = Parameters(steps=1).replace(**parameters)
    report = await run_real(f"clip:{clip}", f"file:{out}", parameters=values).task
    assert {"source", "encode", "decode"} <= report.stages_ms.keys()
    return [image for _, image in read_clip(out)]


def difference(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return float(np.mean([np.abs(x.astype(int) - y).mean() for x, y in zip(a, b, strict=True)]))


async def test_a_clip_is_stylised_as_the_parameters_say(tmp_path: Path) -> None:
    clip = write_scene(tmp_path / "clip.mp4")
    one = await stylise(clip, tmp_path / "a.mp4", seed=1)
    other = await stylise(clip, tmp_path / "b.mp4", seed=2, freedom=0.7)
    source = [fit_image(image, *SIZE) for _, image in read_clip(clip)]
    assert len(one) == 6
    assert one[0].shape == (SIZE[1], SIZE[0], 3)
    assert difference(one, source) > 1
    assert difference(one, other) > 1


async def test_live_changes_of_size_and_style_show_no_black_frame(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    cv2.imwrite(str(tmp_path / "style.png"), np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8))
    run = run_real("test", f"file:{out}", "page", parameters=Parameters(steps=1))
    await run.until(lambda run: run.progress.done > 2)
    async with aiohttp.ClientSession(run.address) as session:
        for changes in ({"width": 128, "height": 96}, {"styles": [["inferno", 1], ["weave", 2]], "steps": 2}):
            async with session.patch("/api/parameters", json=changes) as response:
                assert response.status == 200
        async with session.put("/api/style-picture", data=(tmp_path / "style.png").read_bytes()) as response:
            assert response.status == 200
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 10)
    report = await run.end()
    assert (report.parameters["width"], report.restarts) == (128, 0)
    assert len(report.parameters["style_vector"]) == 100
    frames = [image for _, image in read_clip(out)]
    assert len(frames) == report.frames
    assert min(float(image.mean()) for image in frames) > 5


def test_run_holds_to_the_look_of_a_picture(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip, red = write_scene(tmp_path / "in.mp4", 2), tmp_path / "red.png"
    cv2.imwrite(str(red), cv2.resize(draw(3), (64, 64))[..., ::-1] // 4 + np.array([0, 0, 150], np.uint8))
    colours = []
    for number, flags in enumerate(([], ["--anchor", str(red), "--anchor-strength", "1"])):
        out = tmp_path / f"out{number}.mp4"
        assert cli.main(["run", "--source", f"clip:{clip}", "--sink", f"file:{out}", "--size", "96x64", *flags]) == 0
        colours.append(read_clip(out)[-1][1].mean((0, 1)))
    wanted = cv2.imread(str(red)).mean((0, 1))[::-1]
    assert np.abs(colours[1] - wanted).max() < 12 < 40 < np.abs(colours[0] - wanted).max()
    assert cli.main(["run", "--source", "test", "--sink", "page", "--anchor", str(tmp_path / "none.png")]) == 2
    assert "anchor: " in capfd.readouterr().err


def test_damaged_weights_are_one_clear_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(WEIGHTS, weights)
    (large,) = weights.glob("*.safetensors")
    data = bytearray(large.read_bytes())
    data[len(data) // 2] ^= 255
    large.write_bytes(data)
    out = tmp_path / "out.mp4"
    arguments = ["--source", "test", "--sink", f"file:{out}", "--size", "64", "--frames", "1"]
    assert cli.main(["run", *arguments, "--weights", str(weights)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("driftcam: ")
    assert "weights" in line
    assert not out.exists()


async def test_a_clip_gets_pictures_between_its_own(tmp_path: Path) -> None:
    """What moves is on its way in them: each is nearer to the painting of that moment than its neighbours are."""
    clip, every, between = tmp_path / "clip.mp4", tmp_path / "a.mp4", tmp_path / "b.mp4"
    scene = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (96, 400, 3), np.uint8), (0, 0), 4)
    scene = cv2.normalize(scene, scene, 0, 255, cv2.NORM_MINMAX)
    frames = [np.ascontiguousarray(scene[:, 8 * number : 8 * number + 160]) for number in range(16)]
    for path, kept, fps in ((clip, frames[::2], 10), (every, frames, 20)):
        with path.open("w+b", buffering=0) as file:
            writer = Mp4Writer(file, 160, 96, fps)
            for number, frame in enumerate(kept):
                writer.add(frame, round(number * 1e9 / fps))
            writer.close()
    made = await stylise(clip, between, smooth="60", strength=0.0)
    truth = await stylise(every, tmp_path / "c.mp4", strength=0.0)
    assert len(made) == 7 * 6 + 1
    for number in range(5, 13, 2):
        inner = [image[8:-8, 16:-16] for image in (made[3 * number], truth[number], truth[number - 1])]
        assert difference(inner[:1], inner[1:2]) < 0.35 * difference(inner[2:], inner[1:2])
