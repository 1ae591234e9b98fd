"""Clips whose times jump, stand still or are missing: joined streams, damaged stamps, long stills."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.sources.clip import ClipSource
from driftcam.daemon.sources.times import SECOND, Timeline
from tests.daemon.conftest import SIZE, numbered, read_clip, start_run

FPS, SECONDS = 25, 2
MS = 1_000_000
STEP, MOST = 40 * MS, 10 * SECOND


def write_part(path: Path, offset: float = 0, *, tone: float = 0.0) -> Path:
    """An MPEG transport stream of 2 s whose times begin at `offset` s, with a tone of that loudness."""
    width, height = SIZE
    with av.open(str(path), "w", format="mpegts", options={"output_ts_offset": str(offset)}) as container:
        video = container.add_stream("libx264", rate=FPS, options={"tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=48_000, layout="stereo")
        assert isinstance(video, av.VideoStream) and isinstance(audio, av.AudioStream)
        for number in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(numbered(number, SIZE), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
            samples = 48_000 // FPS
            wave = tone * np.sin(np.arange(samples, dtype=np.float32) / 10)
            sound = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp")
            sound.sample_rate, sound.pts, sound.time_base = 48_000, number * samples, Fraction(1, 48_000)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def joined(folder: Path, *offsets: float) -> Path:
    """Parts one behind the other in one file, as `cat` joins them; every second one is loud."""
    parts = [write_part(folder / f"{n}.ts", offset, tone=0.5 * (n % 2)) for n, offset in enumerate(offsets)]
    path = folder / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("offsets", [(0, 0), (0, 3600), (3600, 0), (0, 0, 0)], ids=str)
async def test_joined_streams_last_as_long_as_their_parts_together(tmp_path: Path, offsets: tuple[float, ...]) -> None:
    clip, out = joined(tmp_path, *offsets), tmp_path / "out.mp4"
    await start_run(f"clip:{clip}", f"file:{out}").task
    times = [time for time, _ in read_clip(out)]
    assert len(times) == len(offsets) * FPS * SECONDS
    np.testing.assert_allclose(np.diff(times), 1 / FPS, atol=0.02)
    assert times[-1] == pytest.approx(len(offsets) * SECONDS, abs=0.2)


async def test_the_sound_of_joined_streams_stays_with_their_pictures(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    await start_run(f"clip:{joined(tmp_path, 0, 3600)}", f"file:{out}").task
    with av.open(str(out)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    loud = np.flatnonzero(np.abs(heard) > 0.1) / 48_000
    assert loud[0] == pytest.approx(SECONDS, abs=0.15)
    assert loud[-1] == pytest.approx(2 * SECONDS, abs=0.15)


def test_a_paced_clip_never_waits_for_an_hour(tmp_path: Path) -> None:
    source, stop = ClipSource(str(joined(tmp_path, 0, 3600)), lambda line: None), threading.Event()
    start = time.monotonic()
    for number, _ in enumerate(source.frames(stop, paced=True)):
        if number == FPS * SECONDS + 2:
            stop.set()
    assert number == FPS * SECONDS + 2
    assert time.monotonic() - start < SECONDS + 3


def times_of(stamps: list[int | None], step: int = STEP) -> list[int]:
    line = Timeline(step, MOST)
    return [line.picture(stamp) for stamp in stamps]


def test_times_that_can_be_followed_are_followed() -> None:
    stamps = [5 * SECOND + each * MS for each in (0, 40, 41, 900, 9000)]
    assert times_of([*stamps]) == [stamp - stamps[0] for stamp in stamps]


def test_single_slips_and_twins_move_nothing_else() -> None:
    assert times_of([0, 40 * MS, 40 * MS, 80 * MS, 79 * MS, 120 * MS]) == [
        *(0, 40 * MS, 40 * MS + 1, 80 * MS, 80 * MS + 1, 120 * MS)
    ]


@pytest.mark.parametrize("stamps", [[None] * 100, [0] * 100, [7, None] * 50], ids=["missing", "frozen", "half"])
def test_times_that_say_nothing_become_the_usual_steps(stamps: list[int | None]) -> None:
    assert times_of(stamps)[-1] > 99 * STEP / 4


def test_a_slow_show_of_slides_is_no_jump() -> None:
    assert times_of([0, 20 * SECOND, 40 * SECOND], step=20 * SECOND) == [0, 20 * SECOND, 40 * SECOND]


def test_a_long_still_with_sound_is_no_jump_and_without_it_is_one() -> None:
    told, silent = Timeline(STEP, MOST), Timeline(STEP, MOST)
    assert told.picture(0) == silent.picture(0) == 0
    for stamp in range(0, 30 * SECOND, SECOND // 10):
        told.packet(stamp)
        assert told.sound(stamp) == stamp
    assert told.picture(30 * SECOND) == 30 * SECOND
    assert silent.picture(30 * SECOND) == STEP


def test_sound_that_jumps_before_its_pictures_waits_for_them() -> None:
    line = Timeline(STEP, MOST)
    assert line.sound(SECOND) is None
    assert [line.picture(SECOND + n * STEP) for n in range(100)][-1] == 99 * STEP
    assert line.sound(SECOND + 99 * STEP) == 99 * STEP
    for jumped in (10 * MS, 3600 * SECOND):
        assert line.sound(jumped) is None
    assert line.picture(0) == 100 * STEP
    assert line.sound(10 * MS) == 100 * STEP + 10 * MS
    assert line.sound(SECOND + 100 * STEP) == 100 * STEP, "what was left of the first part"


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=2, max_size=50), st.integers(1, 10**10))
def test_whatever_the_stamps_times_rise_and_no_wait_is_above_the_bound(stamps: list[int | None], step: int) -> None:
    times = times_of(stamps, step)
    assert times[0] == 0
    assert all(0 < gap <= max(MOST, 2 * step) for gap in np.diff(np.array(times, object)))
