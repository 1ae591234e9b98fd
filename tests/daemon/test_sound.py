"""Sound stays with its picture: a flash and a beep that begin together do so in what Driftcam makes of them."""

from __future__ import annotations

import functools
import http.server
import itertools
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from driftcam.daemon.sound import KEEP_NS, RATE, Chunk, Sound, fitted
from tests.daemon.conftest import start_run

FPS, FRAME = 25, 0.04
SAMPLES = 44_100 // FPS
FLASHES = [0.4, 1.4, 2.4]
BLACK, WHITE = 20, 230


def write_flashes(path: Path, seconds: int = 3) -> Path:
    """Every second, .2 s of white and of 880 Hz."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:  # as files for the web are
        video = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        audio = container.add_stream("aac", rate=44_100, layout="mono")
        for number in range(seconds * FPS):
            on = 10 <= number % FPS < 15
            picture = av.VideoFrame.from_ndarray(np.full((64, 128, 3), WHITE if on else BLACK, np.uint8), "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(picture))
            moments = np.arange(number * SAMPLES, (number + 1) * SAMPLES) / 44_100
            wave = (0.6 * on * np.sin(2 * np.pi * 880 * moments)).astype(np.float32)[None]
            sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 44_100, number * SAMPLES, Fraction(1, 44_100)
            container.mux(audio.encode(sound))
        container.mux([*video.encode(None), *audio.encode(None)])
    return path


def onsets(path: Path, *, negative: bool) -> tuple[list[tuple[float, float]], list[float]]:
    """When flashes begin, between the seconds of two pictures, and beeps. The stand-in engine makes negatives."""
    with av.open(str(path)) as container:
        bright = [(f.time, (f.to_ndarray(format="rgb24").mean() > 128) != negative) for f in container.decode(video=0)]
    flashes = [(last, time) for (last, before), (time, now) in itertools.pairwise(bright) if now and not before]
    beeps: list[float] = []
    quiet_since = -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            for place in np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.1):
                time = frame.time + int(place) / frame.sample_rate
                if time - quiet_since > 0.1:
                    beeps.append(time)
                quiet_since = time
    return flashes, beeps


def test_the_clip_itself_is_in_step(tmp_path: Path) -> None:
    flashes, beeps = onsets(write_flashes(tmp_path / "in.mp4"), negative=False)
    np.testing.assert_allclose([time for _, time in flashes], FLASHES, atol=0.001)
    np.testing.assert_allclose(beeps, FLASHES, atol=0.01)


async def test_a_clip_keeps_its_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_DELAY_MS", "5")
    source = write_flashes(tmp_path / "in.mp4")
    report = await start_run(f"clip:{source}", f"file:{tmp_path / 'out.mp4'}").task
    assert report.frames == 75
    flashes, beeps = onsets(tmp_path / "out.mp4", negative=True)
    np.testing.assert_allclose([time for _, time in flashes], FLASHES, atol=0.001)
    np.testing.assert_allclose(beeps, FLASHES, atol=0.01)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The folder over HTTP."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_a_live_recording_is_in_step_whatever_the_delay(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine takes .15 s a picture, most of which are dropped; its sound waits for each."""
    monkeypatch.setenv("STANDIN_DELAY_MS", "150")
    write_flashes(tmp_path / "in.mp4")
    run = start_run(f"url:{server}/in.mp4", f"file:{tmp_path / 'out.mp4'}")
    await run.until(lambda run: run.progress.done > 40)
    report = await run.end()
    assert report.latency_ms["p50"] > 150
    flashes, beeps = onsets(tmp_path / "out.mp4", negative=True)
    assert len(beeps) >= 4
    for last, flash in flashes:
        assert any(last - FRAME <= beep <= flash + FRAME for beep in beeps), (flashes, beeps)


def test_gaps_become_silence_overlaps_are_cut_and_jitter_is_left_alone() -> None:
    samples = np.ones((2, 4800), np.float32)
    assert fitted(samples, 300) is samples
    late = fitted(samples, 2000)
    assert late.shape == (2, 6800)
    assert not late[:, :2000].any()
    assert fitted(samples, -2000).shape == (2, 2800)
    assert fitted(samples, -9000).shape == (2, 0)


def test_a_reader_that_does_not_read_keeps_the_newest_only() -> None:
    sound = Sound()
    assert not sound.wanted
    reader, piece = sound.reader(), np.zeros((2, RATE), np.float32)
    for second in range(100):
        sound.write(Chunk(piece, second * 1_000_000_000))
    chunks = reader.take(2**62)
    assert [chunk.pts // 1_000_000_000 for chunk in chunks] == list(range(99 - KEEP_NS // 1_000_000_000, 100))
    assert reader.take(2**62) == []
    reader.close()
    assert not sound.wanted
