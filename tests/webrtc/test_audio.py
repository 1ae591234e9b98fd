"""When sound is due."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.webrtc.audio import LONGEST, SLEW, AudioOut, Clock, DelayLine


def piece(number: int = 0) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.full((1, 1920), number, np.int16), format="s16", layout="stereo")
    made.sample_rate, made.pts = 48_000, number * 960
    return made


def test_sound_leaves_as_late_as_wanted_in_order() -> None:
    line = DelayLine()
    line.aim(0.1, 0.0)
    for number in range(5):
        line.put(piece(number), number * 0.02)
    assert line.take(0.099) is None
    left = [taken.pts // 960 for n in range(5) if (taken := line.take(0.1001 + n * 0.02)) is not None]
    assert left == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("target", [0.05, 0.4])
def test_the_delay_moves_slowly_and_arrives(target: float) -> None:
    line = DelayLine()
    line.aim(0.2, 0.0)
    delays = []
    for step in range(1, 500):
        line.aim(target, step * 0.02)
        delays.append(line.delay or 0.0)
    steps = np.abs(np.diff([0.2, *delays]))
    assert steps.max() <= SLEW * 0.02 + 1e-9 and delays[-1] == pytest.approx(target)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(-5, 9)), max_size=300))
def test_it_never_grows_whatever_comes(events: list[tuple[float, float]]) -> None:
    line, now = DelayLine(), 0.0
    for pause, target in events:
        now += pause
        line.put(piece(), now)
        line.aim(target, now)
        assert 0 <= (line.delay or 0) <= LONGEST
        assert all(now - came <= LONGEST for came, _ in line._pieces)


def test_an_hour_of_a_sender_with_a_fast_clock_does_not_drift() -> None:
    line = DelayLine()
    line.aim(0.1, 0.0)
    period = 0.02 / 1.0003  # 300 ppm
    lateness = []
    for number in range(180_000):
        now = number * period
        line.put(piece(), now)
        if line.take(now) is not None:
            lateness.append(line.wait(now))
    assert len(line._pieces) <= 6 and max(lateness) < 0.03


def test_capture_times_go_on_evenly_under_jitter_and_jump_after_a_pause() -> None:
    clock, rng = Clock(), np.random.default_rng(1)
    at = [clock.time(int(n * 20e6 + rng.uniform(0, 30e6)), 960) for n in range(1, 500)]
    assert np.abs(np.diff(at) - 20e6).max() < 1e6 and abs(at[-1] - 498 * 20e6) < 30e6
    assert abs(clock.time(int(60e9), 960) - (60e9 - 20e6)) < 1e6


async def test_time_goes_on_evenly_when_another_microphone_takes_over() -> None:
    out = AudioOut(lambda: 0.0)
    stamps = []
    for number in (0, 1, 2, 5_000, 5_001, 1, 2):
        out.hear(piece(number))
        stamps.append((await out.recv()).pts)
    assert np.diff(stamps).tolist() == [960] * 6
