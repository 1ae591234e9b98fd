"""Whole runs, as a person starts them, with the stand-in engine in a real engine process."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import numpy as np

from driftcam.engines.api import Parameters
from tests.daemon.conftest import SIZE, grey_of, read_clip, start_run, write_clip


async def test_every_frame_of_a_clip_reaches_the_file_in_order_and_in_time(tmp_path: Path, clip: Path) -> None:
    report = await start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}").task
    frames = read_clip(tmp_path / "out.mp4")
    assert report.frames == len(frames) == 20
    np.testing.assert_allclose([time for time, _ in frames], np.arange(20) / 10, atol=1e-3)
    for number, (_, image) in enumerate(frames):
        assert image.shape == (SIZE[1], SIZE[0], 3)
        assert abs(int(image[-8, -8, 0]) - (255 - grey_of(number))) <= 4, f"frame {number}"


async def test_compare_puts_the_source_beside_the_result(tmp_path: Path, clip: Path) -> None:
    await start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}", compare=True).task
    _, image = read_clip(tmp_path / "out.mp4")[3]
    assert image.shape == (SIZE[1], 2 * SIZE[0], 3)
    source, result = image[-8, SIZE[0] - 8, 0], image[-8, -8, 0]
    assert abs(int(source) - grey_of(3)) <= 4
    assert abs(int(result) - (255 - grey_of(3))) <= 4


async def test_the_result_has_the_shape_of_the_source_unless_a_size_is_asked_for(tmp_path: Path) -> None:
    tall = write_clip(tmp_path / "tall.mp4", 2, size=(90, 160))
    report = await start_run(f"clip:{tall}", f"file:{tmp_path / 'out.mp4'}", size=None).task
    assert (report.parameters["width"], report.parameters["height"]) == (288, 512)


async def test_two_files_and_a_page_at_once(tmp_path: Path, clip: Path) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    run = start_run(f"clip:{clip}", f"file:{first}", f"file:{second}", "page")
    report = await run.task
    assert run.address.startswith("http://127.0.0.1:")
    assert report.frames == len(read_clip(first)) == len(read_clip(second)) == 20


async def test_a_clip_is_repeated_while_only_live_sinks_look(tmp_path: Path) -> None:
    short = write_clip(tmp_path / "short.mp4", 4, fps=25)
    run = start_run(f"clip:{short}", "page")
    await run.until(lambda run: run.progress.done > 10)
    assert (await run.end()).frames > 10


async def test_the_page_shows_frames_and_a_change_reaches_the_picture() -> None:
    run = start_run("test", "page")
    await run.until(lambda run: run.progress.done > 0)
    async with aiohttp.ClientSession() as session:
        async with session.patch(f"{run.address}api/parameters", data=json.dumps({"width": 192})) as response:
            assert (await response.json())["parameters"]["width"] == 192
        async with session.get(f"{run.address}result.mjpeg") as response:
            assert response.content_type == "multipart/x-mixed-replace"
            picture = b""
            while picture.count(b"image/jpeg") < 3:
                picture += await response.content.read(4096)
    report = await run.end()
    assert report.parameters["width"] == 192
    assert report.restarts == 0


async def test_a_picture_becomes_the_style(tmp_path: Path, clip: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "red.png"), np.full((40, 30, 3), (0, 0, 200), np.uint8))
    out = tmp_path / "out.mp4"
    report = await start_run(f"clip:{clip}", f"file:{out}", style_image=tmp_path / "red.png", frames=2).task
    assert report.parameters["style_vector"][:3] == (200.0, 0.0, 0.0)


async def test_frames_ends_an_endless_source_and_the_report_tells_how_it_went(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    report = await start_run("test", f"file:{out}", frames=12, parameters=Parameters(steps=1)).task
    assert report.frames == len(read_clip(out)) == 12
    assert report.backend == "stand-in"
    assert {"source", "frame"} <= report.stages_ms.keys()
    assert set(report.frame_ms) == set(report.latency_ms) == {"p50", "p95"}
    assert report.memory_peak_mb["daemon"] > 10
    assert report.memory_peak_mb["engine"] > 10
    assert report.first_frame_s is not None
    assert json.dumps(report.to_dict())


async def test_a_change_of_size_while_writing_keeps_the_file_at_its_size(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    run = start_run("test", f"file:{out}", "page")
    await run.until(lambda run: run.progress.done > 3)
    async with aiohttp.ClientSession() as session:
        await session.patch(f"{run.address}api/parameters", data=json.dumps({"width": 64, "height": 96}))
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 5)
    await run.end()
    assert {image.shape for _, image in read_clip(out)} == {(SIZE[1], SIZE[0], 3)}
