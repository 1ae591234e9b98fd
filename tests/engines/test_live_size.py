"""`size = auto`: the largest size that is quick enough, found with few measurements and remembered."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.engine import Engine
from driftcam.engines.live_size import ENOUGH, FPS, SHARE, SIDES, LiveSize, Memory, frame_seconds, measure, search

MOST = SHARE / FPS


@pytest.mark.parametrize("fixed", [0.0, 0.003, 0.015])
@pytest.mark.parametrize("largest", [100, *SIDES, 5000])
def test_search_finds_what_trying_all_would_find(fixed, largest):
    """A frame takes some time whatever its size, and the rest grows with its pixels."""

    def timer(side: int) -> float:
        return fixed + (MOST - fixed) * (side / (largest + 1)) ** 2

    found = search(timer)
    quick = [side for side in SIDES if timer(side) <= MOST]
    assert found.side == (quick[-1] if quick else SIDES[0])
    assert found.quick == bool(quick)
    assert found.seconds == {side: timer(side) for side in found.seconds}


def test_a_quick_machine_measures_two_sizes_and_a_slow_one_measures_one():
    assert sorted(search(lambda side: 1e-9 * side**2).seconds) == [SIDES[0], SIDES[-1]]
    assert sorted(search(lambda side: 1e-5 * side**2).seconds) == [SIDES[0]]


def test_no_further_size_is_tried_when_time_is_up():
    now = [0.0]

    def timer(side: int) -> float:
        now[0] += ENOUGH  # compiling takes long
        return MOST * (side / 400) ** 2

    found = search(timer, clock=lambda: now[0])
    assert found.side == 384 and len(found.seconds) == 2


def test_it_says_what_it_found_in_one_line():
    assert str(LiveSize(512, {256: 0.0101, 512: 0.0336, 640: 0.06})) == (
        "512², the largest for 20 frames a second; a frame takes: 256² 10 ms, 512² 34 ms, 640² 60 ms"
    )
    assert str(LiveSize(256, {256: 0.152}, others=0.6)) == (
        "256², too slow for 20 frames a second; a frame takes: 256² 152 ms"
        ", while others had 60% of this machine; the next start tries again"
    )
    assert "too slow for 20 frames a second" in str(LiveSize(256, {256: 0.2}))


def test_frames_that_are_timed_move():
    seen = []
    frame_seconds(lambda frame: seen.append(frame) or frame, 64)
    assert all(frame.shape == (64, 64, 3) for frame in seen)
    for before, after in pairwise(seen):
        assert np.array_equal(before[:, 4:], after[:, :-4]) and not np.array_equal(before, after)


def test_the_real_engine_is_measured_whole_frame_by_whole_frame():
    opened = []

    def open_engine(parameters: Parameters) -> Engine:
        opened.append(Engine(parameters))
        return opened[-1]

    found = measure(open_engine, Parameters(similarity_threshold=0.9))
    assert found.side in found.seconds and set(found.seconds) <= set(SIDES)
    for engine in opened:
        report = engine.report()
        assert report["skipped"] == 0 and report["frames"] >= 7
        assert {"anchor", "encode", "denoise", "decode"} <= report["stages_ms"].keys()
    assert {engine.parameters.width for engine in opened} == set(found.seconds)


class TestMemory:
    FOUND = LiveSize(448, {256: 0.01, 448: 0.03, 512: 0.04})

    def test_keeps_what_was_found_for_streams_that_cost_the_same(self, tmp_path):
        memory, parameters = Memory(tmp_path / "new", "openvino"), Parameters(steps=2)
        assert memory.load(parameters) is None
        memory.save(parameters, self.FOUND)
        assert memory.load(parameters.replace(styles=(("dusk", 1),), seed=3)) == self.FOUND
        assert memory.load(parameters.replace(steps=4)) is None
        assert Memory(tmp_path / "new", "torch").load(parameters) is None
        assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".json"]

    @pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"side": 64}', '{"side": 64, "seconds": {"1": 2}}'])
    def test_a_damaged_file_is_as_none(self, tmp_path, text):
        memory = Memory(tmp_path, "openvino")
        memory.path(Parameters()).write_text(text)
        assert memory.load(Parameters()) is None

    def test_a_folder_that_cannot_be_written_is_no_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        Memory(tmp_path / "file", "openvino").save(Parameters(), self.FOUND)

    def test_the_file_is_for_people_too(self, tmp_path):
        memory = Memory(tmp_path, "openvino")
        memory.save(Parameters(), self.FOUND)
        assert json.loads(memory.path(Parameters()).read_text())["side"] == 448
