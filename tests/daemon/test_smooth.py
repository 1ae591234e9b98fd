"""Pictures between those of the engine: where things are in them, when they are shown, and when there are none."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from driftcam.daemon.config.specs import parse_sink
from driftcam.daemon.engine.in_flight import FramesInFlight
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.session.smooth import Smoother
from driftcam.daemon.sinks import virtualcam
from driftcam.daemon.sinks.opening import open_sink
from driftcam.daemon.smooth.between import Between
from driftcam.daemon.smooth.pace import FAR, SECOND, Grid, Pace
from driftcam.engines.api import Parameters
from driftcam.engines.api.bus import Message, MessageType
from driftcam.engines.api.planes import ALPHA, MOTION
from tests.daemon.conftest import grey_of, read_clip, start_run

HEIGHT, WIDTH, SPEED = 96, 160, (6.0, 2.0)  # px a frame, right and down
MS = 1_000_000


def scene(moved: float) -> np.ndarray:
    """A soft random texture that has moved by `moved` frames: exact, by Fourier's shift theorem."""
    rng = np.random.default_rng(7)
    u, v = np.fft.fftfreq(WIDTH), np.fft.fftfreq(HEIGHT)[:, None]
    soft = np.exp(-((u**2 + v**2) * 500))
    shift = np.exp(-2j * np.pi * moved * (u * SPEED[0] + v * SPEED[1]))
    planes = [np.fft.ifft2(np.fft.fft2(rng.standard_normal((HEIGHT, WIDTH))) * soft * shift).real for _ in range(3)]
    stacked = np.dstack(planes)
    return np.clip(128 + stacked * 60 / stacked.std(), 0, 255).round().astype(np.uint8)


def motion(
    x: float = -SPEED[0], y: float = -SPEED[1], surface: float = 1.0, size: tuple[int, int] = (36, 60)
) -> np.ndarray:
    return np.full((*size, 3), (x, y, surface), np.float32)


def middle(image: np.ndarray) -> np.ndarray:
    """Without what came in at the borders."""
    return image[12:-12, 12:-12].astype(float)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("surface", [1.0, 0.0])
def test_what_moves_is_on_its_way(share: float, surface: float) -> None:
    between = Between()
    between.use(scene(0), scene(1), motion(surface=surface))
    error = np.abs(middle(between.at(share)) - middle(scene(share)))
    assert error.mean() < 1.5
    assert error.max() < 12


def test_two_things_move_each_for_itself() -> None:
    def frame(at: float) -> np.ndarray:
        image = np.zeros((64, 128, 3), np.uint8)
        image[:, :64] = cv2.GaussianBlur(np.eye(64, dtype=np.uint8) * 255, (0, 0), 2)[..., None] * 4
        x = round(80 + 8 * at)
        image[24:40, x : x + 16] = 200
        return image

    flow = motion(0, 0, size=(64, 128))
    flow[20:44, 76:112, 0] = -8
    between = Between()
    between.use(frame(0), frame(1), flow)
    made = between.at(0.5)
    np.testing.assert_allclose(made[:, :60].astype(int), frame(0)[:, :60], atol=2)
    there = made[32, 70:].astype(int)[:, 0] > 100
    assert np.flatnonzero(there)[[0, -1]] + 70 == pytest.approx([84, 99], abs=1)
    assert there.sum() == pytest.approx(16, abs=1), "one thing, not two halves of it"


def test_a_picture_is_the_callers_own_and_sizes_may_change() -> None:
    between = Between()
    between.use(scene(0), scene(1), motion())
    first = between.at(0.5)
    kept = first.copy()
    between.use(scene(2)[:50], scene(3)[:50], motion(size=(20, 31)))
    assert between.at(0.5).shape == (50, WIDTH, 3)
    np.testing.assert_array_equal(first, kept)


# -- when -------------------------------------------------------------------------------------


def test_a_files_times_are_even() -> None:
    grid = Grid(60)
    shown = [time for number in range(50) for time in grid.times(number * SECOND // 25)]
    np.testing.assert_allclose(shown, np.arange(len(shown)) * 1e9 / 60, atol=1)
    assert len(shown) == 49 * 60 // 25 + 1


def test_a_multiple_of_the_rate_keeps_every_frame() -> None:
    grid = Grid(60)
    frames = [round(number * 1e9 / 30) for number in range(30)]
    shown = [time for pts in frames for time in grid.times(pts)]
    assert len(shown) == 59
    assert set(frames) <= set(shown)


@pytest.mark.parametrize("rate", [57, 60, 120])
def test_what_is_fast_enough_stays_as_it_is(rate: int) -> None:
    grid = Grid(60)
    frames = [number * SECOND // rate for number in range(20)]
    assert [time for pts in frames for time in grid.times(pts)] == frames


def test_a_gap_is_not_filled() -> None:
    grid = Grid(60)
    grid.times(0)
    assert grid.times(SECOND * 3600) == [SECOND * 3600]
    assert len(grid.times(SECOND * 3600 + SECOND // 20)) == 3


def simulated(gaps: list[int], latencies: list[int], rate: float = 60) -> list[tuple[int, int | None, int]]:
    """(now, moment, newest) at each beat, with pictures that are so far apart and come so late."""
    pace, shown, newest, due = Pace(rate), [], 0, 0
    captured = list(np.cumsum(gaps))
    arrivals = sorted((c + late, c) for c, late in zip(captured, latencies, strict=True))
    end = arrivals[-1][0] + SECOND // 2
    while due < end:
        while arrivals and arrivals[0][0] <= due:
            now, moment = arrivals.pop(0)
            if moment > newest:
                newest = moment
                pace.came(moment, now)
        shown.append((due, pace.moment(due), newest))
        due = pace.next_due(due, due)
    return shown


@pytest.mark.parametrize("seed", range(4))
def test_moments_rise_and_are_known_whatever_comes_when(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gaps = (rng.choice([33, 50, 66, 400, 900], 200, p=[0.4, 0.3, 0.28, 0.01, 0.01]) * MS).tolist()
    latencies = (rng.integers(20, 90, 200) * MS).tolist()
    shown = [(moment, newest) for _, moment, newest in simulated(gaps, latencies) if moment is not None]
    moments = [moment for moment, _ in shown]
    assert all(later >= earlier for earlier, later in pairwise(moments))
    assert all(moment <= newest for moment, newest in shown)
    assert moments[-1] == sum(gaps), "the last picture is shown in the end"


def test_a_steady_stream_runs_evenly_one_picture_late() -> None:
    shown = simulated([50 * MS] * 100, [30 * MS] * 100)[30:-40]
    steps = [later - earlier for (_, earlier, _), (_, later, _) in pairwise(shown) if earlier and later]
    np.testing.assert_allclose(steps, SECOND / 60, rtol=0.001)
    delays = [now - moment for now, moment, _ in shown if moment]
    np.testing.assert_allclose(delays, 80 * MS, atol=2 * MS)


def test_one_straggler_does_not_delay_the_others() -> None:
    latencies = [30 * MS] * 100
    latencies[50] = 45 * MS
    shown = simulated([50 * MS] * 100, latencies)[30:-40]
    assert max(now - moment for now, moment, _ in shown if moment) <= 98 * MS


def test_who_asks_late_skips_beats_and_stays_in_time() -> None:
    pace = Pace(50)
    assert pace.next_due(0, 1 * MS) == 20 * MS
    assert pace.next_due(0, 45 * MS) == 60 * MS


def test_nothing_is_made_between_pictures_that_come_fast_enough() -> None:
    pace = Pace(30)
    for number in range(40):
        pace.came(number * 33 * MS, number * 33 * MS)
    assert not pace.made
    for number in range(40):
        pace.came((1320 + number * 66) * MS, (1320 + number * 66) * MS)
    assert pace.made


def test_a_virtual_camera_is_opened_at_the_rate_unless_it_is_told_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtualcam, "find_device", lambda number: "/dev/video10")
    monkeypatch.setattr(virtualcam, "VirtualCameraSink", lambda *given, **options: given[3])
    rates = [open_sink(parse_sink(text), 25, rate) for text in ("virtualcam", "virtualcam?fps=15") for rate in (60, 0)]
    assert rates == [60, 30, 15, 15]


# -- a session's results ------------------------------------------------------------------------


def result(number: int, image: np.ndarray, moved: bool = True, gap: int = 50 * MS, **planes: np.ndarray) -> Result:
    picture = Picture(image, number * gap, number * gap, number * gap + 5)
    beside = planes | ({MOTION: motion()} if moved else {})
    return Result(image, picture, number + 1, skipped=False, process_ms=1.0, arrived=number * gap, planes=beside)


async def shown_of(results: list[Result], rate: float = 60) -> list[Result]:
    smoother = Smoother(lambda result: None, "test")
    return [picture for each in results for picture in [part async for part in smoother.through(each, rate)]]


async def test_a_file_has_the_pictures_between_at_their_times() -> None:
    shown = await shown_of([result(number, scene(number)) for number in range(4)])
    assert len(shown) == 10
    for number, each in enumerate(shown):
        assert each.source.pts == pytest.approx(number * SECOND / 60, abs=1)
        assert np.abs(middle(each.image) - middle(scene(number / 3))).mean() < 1.5


async def test_nothing_is_made_across_a_cut_or_of_a_still_picture() -> None:
    shown = await shown_of([result(0, scene(0)), result(1, scene(5), moved=False)])
    assert [np.array_equal(each.image, scene(0)) for each in shown] == [True, True, True, False]
    assert np.array_equal(shown[-1].image, scene(5))


async def test_a_change_of_size_is_a_cut() -> None:
    shown = await shown_of([result(0, scene(0)), result(1, scene(1)[:50])])
    assert [each.image.shape[0] for each in shown] == [HEIGHT, HEIGHT, HEIGHT, 50]


async def test_alpha_moves_with_its_picture() -> None:
    alphas = [scene(number)[..., 0] for number in range(2)]
    shown = await shown_of([result(number, scene(number), alpha=alphas[number]) for number in range(2)])
    assert np.abs(middle(shown[1].planes[ALPHA]) - middle(scene(1 / 3)[..., 0])).mean() < 1.5


async def test_off_hands_the_very_results_on() -> None:
    results = [result(number, scene(number)) for number in range(3)]
    assert all(each is given for each, given in zip(await shown_of(results, 0), results, strict=True))


async def test_a_live_stream_shows_what_is_between_in_order() -> None:
    shown: list[Result] = []
    smoother = Smoother(shown.append, "test")
    async with asyncio.timeout(30):
        given: list[Result] = []
        while sum(all(each.image is not one.image for one in given) for each in shown) < 12:
            now = time.monotonic_ns()
            picture = Picture(scene(len(given)), now, now, now)
            given.append(Result(picture.image, picture, 1, False, 1.0, now, {MOTION: motion()}))
            smoother.take(given[-1], 60)
            await asyncio.sleep(0.06)
    await smoother.close()
    assert all(later.source.pts > earlier.source.pts for earlier, later in pairwise(shown))
    assert all(each.arrived >= each.source.captured for each in shown), "latency is what it is"
    assert all(later.source.given_pts > earlier.source.given_pts for earlier, later in pairwise(shown))


async def test_what_was_not_shown_when_the_untouched_picture_is_wanted_never_is() -> None:
    shown: list[Result] = []
    smoother = Smoother(shown.append, "test")
    for number in range(6):
        smoother.take(result(number, scene(number), gap=FAR // 4), 60)
    smoother.clear()
    seen = len(shown)
    await asyncio.sleep(0.1)
    assert len(shown) == seen
    await smoother.close()


# -- between daemon and engine ------------------------------------------------------------------


class Port:
    """Gives what a message says."""

    gone = False

    def offer(self, *frame: object) -> bool:
        return True

    def take(self, message: Message) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return scene(0), {MOTION: motion()}

    planes: dict = {}  # noqa: RUF012


async def test_motion_since_a_result_that_was_dropped_counts_for_nothing() -> None:
    frames, port = FramesInFlight(), Port()
    for index in (0, 1, 3, 4):
        frames.offer(port, Picture(scene(0), index, index))  # type: ignore[arg-type]
        frames.arrive(port, Message(MessageType.RESULT, pts=index, body={"index": index}))  # type: ignore[arg-type]
    frames.end()
    joined = [MOTION in each.planes async for each in frames.results(lambda port, error: None)]
    assert joined == [False, True, False, True]


async def test_a_clip_becomes_a_file_of_the_rate_that_was_asked_for(tmp_path: Path, clip: Path) -> None:
    """With an engine that knows of no motion: every picture is repeated at its time."""
    run = start_run(f"clip:{clip}", f"file:{tmp_path / 'out.mp4'}", parameters=Parameters(smooth="60"))
    report = await run.task
    frames = read_clip(tmp_path / "out.mp4")
    assert report.frames == len(frames) == 19 * 6 + 1
    np.testing.assert_allclose([at for at, _ in frames], np.arange(len(frames)) / 60, atol=1e-3)
    greys = [255 - grey_of(number // 6) for number in range(len(frames))]
    np.testing.assert_allclose([int(image[-8, -8, 0]) for _, image in frames], greys, atol=5)
    assert run.progress.total == 120
