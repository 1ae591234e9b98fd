"""Recordings and snapshots, and how they fail."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.recordings import Recordings
from driftcam.daemon.session.session import Session
from driftcam.daemon.sinks import encoders
from driftcam.daemon.sinks.recorder import Recorder, free_path
from driftcam.daemon.sinks.snapshot import encode_snapshot
from driftcam.daemon.sound import RATE, Chunk, Sound
from driftcam.engines.api import ParameterError, Parameters
from tests.daemon import standin
from tests.daemon.conftest import IMPATIENT, read_clip

PERIOD = 40_000_000  # ns


def result(number: int, brightness: int = 100, size: tuple[int, int] = (128, 64)) -> Result:
    image = np.full((size[1], size[0], 3), brightness, np.uint8)
    return Result(image, Picture(image, number * PERIOD, 0), number + 1, False, 0.0, 0)


async def record(recorder: Recorder, frames: range) -> None:
    for number in frames:
        await recorder.room()
        recorder.offer(result(number, 40 + number))


async def test_a_recording_is_named_by_its_time_and_holds_what_came(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new" / "folder", "live", 25.0)
    await record(recorder, range(100, 130))  # it joins a stream that runs already
    await recorder.close()
    frames = read_clip(recorder.path)
    assert recorder.path.parent == tmp_path / "new" / "folder"
    assert recorder.path.name.startswith("live-2")
    assert [round(time, 3) for time, _ in frames] == [round(n * 0.04, 3) for n in range(30)]
    assert abs(int(frames[7][1].mean()) - 147) <= 3
    status = recorder.status()
    assert (status["frames"], status["dropped"], status["bytes"]) == (30, 0, recorder.path.stat().st_size)


async def test_two_recordings_in_one_second_do_not_meet(tmp_path: Path) -> None:
    recorders = [Recorder(tmp_path, "live", 25.0) for _ in range(3)]
    assert len({recorder.path for recorder in recorders}) == 3
    await asyncio.gather(*(record(recorder, range(5)) for recorder in recorders))
    for recorder in recorders:
        await recorder.close()
        assert len(read_clip(recorder.path)) == 5
    (tmp_path / "a.mp4").touch()
    assert free_path(tmp_path, "a").name == "a-2.mp4"


async def test_a_recording_that_saw_nothing_leaves_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "live", 25.0)
    await recorder.close()
    assert not list(tmp_path.iterdir())


async def test_a_busy_encoder_drops_and_tells_it(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "live", 25.0)
    taken = [recorder.offer(result(number)) for number in range(20)]  # nobody waits for room
    await recorder.close()
    assert not all(taken)
    assert len(read_clip(recorder.path)) == sum(taken) == recorder.status()["frames"]
    assert recorder.status()["dropped"] == 20 - sum(taken)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match=r"recording: '.*file/x' cannot be used; the folder cannot be made"):
        Recorder(tmp_path / "file" / "x", "live", 25.0)


def test_hardware_that_does_not_work_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that FFmpeg knows but that has no hardware here, or refuses the size, is found by trying."""
    refusing = encoders.Encoder("h264_nvenc", "yuv420p", (("gpu", "99"),))
    monkeypatch.setattr(encoders, "HARDWARE", (refusing,))
    encoders.best_encoder.cache_clear()
    assert encoders.best_encoder(128, 64) == encoders.software_encoder()
    stand_in = encoders.Encoder("mpeg4", "yuv420p", ())
    monkeypatch.setattr(encoders, "HARDWARE", (refusing, stand_in))
    encoders.best_encoder.cache_clear()
    assert encoders.best_encoder(128, 64) == stand_in
    encoders.best_encoder.cache_clear()


async def test_sound_lies_where_its_time_says(tmp_path: Path) -> None:
    """A beep that begins with the tenth picture, in a stream that was joined at the fifth."""
    sound = Sound()
    recorder = Recorder(tmp_path, "live", 25.0, sound=lambda: sound)
    for number in range(30):
        level = 0.5 if 10 <= number < 15 else 0.0
        sound.write(Chunk(np.full((2, RATE // 25), level, np.float32), number * PERIOD))
    await record(recorder, range(5, 30))
    await recorder.close()
    assert abs(loud_from(recorder.path) - 5 * 0.04) < 0.01


async def test_the_sound_of_a_source_that_comes_later_and_comes_back_is_heard(tmp_path: Path) -> None:
    """The file is open before there is a source; that is unplugged after the fourth picture and back at the tenth."""
    sources: list[Sound] = []
    recorder = Recorder(tmp_path, "live", 25.0, sound=lambda: sources[-1] if sources else None)
    for number in range(30):
        if number in (0, 10):
            sources.append(Sound())
            await record(recorder, range(number, number + 1))
            await until(lambda: sources[-1].wanted)
        if number < 4 or number >= 10:
            level = 0.5 if number >= 12 else 0.0
            sources[-1].write(Chunk(np.full((2, RATE // 25), level, np.float32), number * PERIOD))
    await record(recorder, range(11, 30))
    await recorder.close()
    assert abs(loud_from(recorder.path) - 12 * 0.04) < 0.01


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    """A live session that gets a picture every 20 ms."""
    core = Core(worker_command(standin.NAME), notify=lambda line: None, timeouts=IMPATIENT)
    session = core.sessions.open("live", Parameters(width=320, height=192))
    noise = np.random.default_rng(0).integers(0, 255, (4, 192, 320, 3), dtype=np.uint8)

    async def feed() -> None:
        with session.ingest.claim("test") as lease:
            for image in itertools.cycle(noise):
                now = time.monotonic_ns()
                lease.offer(Picture(image, now, now))
                await asyncio.sleep(0.02)

    await session.opened()
    feeding = asyncio.create_task(feed())
    yield session
    feeding.cancel()
    await core.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_recordings_start_and_stop_while_the_stream_runs(session: Session, tmp_path: Path) -> None:
    first, second = (Recorder(tmp_path, name, 25.0) for name in ("first", "second"))
    session.add_sink(first)
    await until(lambda: first.status()["frames"] > 10)
    session.add_sink(second)
    await until(lambda: second.status()["frames"] > 10)
    session.remove_sink(first)
    await first.close()
    seen = second.status()["frames"]
    await until(lambda: second.status()["frames"] > seen + 5)
    session.remove_sink(second)
    await second.close()
    for recorder in (first, second):
        assert len(read_clip(recorder.path)) == recorder.status()["frames"] > 10
    before = session.delivered
    await until(lambda: session.delivered > before + 5)


async def test_a_full_disk_ends_the_recording_and_nothing_else(
    session: Session, small_disk: Path, tmp_path: Path
) -> None:
    full, other = Recorder(small_disk, "full", 25.0), Recorder(tmp_path, "other", 25.0)
    session.add_sink(full)
    session.add_sink(other)
    await until(lambda: full not in session.sinks)
    with pytest.raises(RunError, match=r"writing failed \(No space left on device\); what was written before plays"):
        await full.close()
    assert read_clip(full.path)
    seen = other.status()["frames"]
    await until(lambda: other.status()["frames"] > seen + 5)
    session.remove_sink(other)
    await other.close()


async def test_a_source_that_falls_silent_does_not_hold_the_pictures_back(tmp_path: Path) -> None:
    """The muxer waits for both; what is on the disk must play after a kill -9."""
    sound = Sound()
    recorder = Recorder(tmp_path, "live", 25.0, sound=lambda: sound)
    await record(recorder, range(100))
    await recorder.room()
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(recorder.path.read_bytes())
    assert len(read_clip(copy)) > 50
    await recorder.close()


def loud_from(path: Path) -> float:
    """Seconds at which the sound begins, as a player shows it: relative to the first picture."""
    with av.open(str(path)) as container:
        start = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray()[0]) > 0.1
            if loud.any():
                return frame.time + int(loud.argmax()) / frame.sample_rate - start
    raise AssertionError("it is silent")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_a_snapshot_is_the_picture(suffix: str) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = (250, 20, 30)
    data = np.frombuffer(encode_snapshot(image, suffix), np.uint8)
    read = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(read[20, 10].astype(int) - (250, 20, 30)).max() <= (0 if suffix == ".png" else 6)
    with pytest.raises(ParameterError, match=r"ends in \.png or \.jpg"):
        encode_snapshot(image, ".gif")


async def test_a_recording_that_the_api_starts_has_the_sources_sound(session: Session, tmp_path: Path) -> None:
    assert session.ingest.on_air is not None
    session.ingest.on_air.sound = sound = Sound()
    recordings = Recordings(tmp_path, "live")
    path = Path((await recordings.start(session))["path"])
    async with asyncio.timeout(30):
        while (status := recordings.status(session)) is None or status["frames"] < 20:
            sound.write(Chunk(np.full((2, RATE // 50), 0.5, np.float32), time.monotonic_ns()))
            await asyncio.sleep(0.02)
    await recordings.stop(session)
    with av.open(str(path)) as container:
        loud = [np.abs(frame.to_ndarray()).max() for frame in container.decode(audio=0)]
    assert max(loud) > 0.4
