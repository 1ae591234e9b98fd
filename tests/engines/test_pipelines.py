"""Which pipeline runs where that is left open, and that changing over loses, repeats and reorders nothing."""

from __future__ import annotations

import itertools
import logging
import time

import numpy as np
import pytest
import torch

from driftcam import Engine, Parameters
from driftcam.engines import pipelines
from driftcam.engines.engine import Stylised
from driftcam.engines.pipelines import choose
from tests.engines.test_engine import SMALL, scene


@pytest.mark.parametrize(
    ("sequential", "batch", "pipeline", "words"),
    [
        (0.080, 0.030, "stream", "4 steps of a frame take 80.0 ms one after the other, 30.0 ms in a batch"),
        (0.080, 0.070, "sequential", "a batch must be 1.2 times as fast"),
        (0.080, 0.100, "sequential", "a batch must be 1.2 times as fast"),
        (0.008, 0.002, "sequential", "less than 10 ms keeps up without a batch's delay"),
    ],
)
def test_a_batch_is_chosen_where_the_device_gains_by_it(sequential, batch, pipeline, words) -> None:
    choice = choose(4, sequential, batch)
    assert choice.pipeline == pipeline and words in choice.reason


class Device:
    """A network that does little and takes `per_call` seconds and `per_row` for each row."""

    def __init__(self, per_call: float, per_row: float) -> None:
        self.per_call, self.per_row, self.rows = per_call, per_row, []

    def attach(self, engine: Engine) -> None:
        def predict(x, t, condition):
            self.rows.append(len(x))
            time.sleep(self.per_call + self.per_row * len(x))
            return 0.3 * x

        engine.model.predict = predict
        engine._apply(engine.parameters)  # as after a change: the batch takes the network that is there


def run_until_chosen(engine: Engine, frames: int = 60) -> list[Stylised]:
    """Results of one frame after the other until the pipeline was measured and some more."""
    results: list[Stylised] = []
    left = 6
    for k in itertools.count():
        results += engine.process(scene(k), pts=engine.report()["frames"])
        left -= "ms" in engine.report()["why_pipeline"]
        if not left or k > frames:
            return results + engine.flush()
    return results


def test_a_device_that_is_idle_between_rows_gets_the_stream_batch_and_the_log_says_so(caplog) -> None:
    engine = Engine(SMALL.replace(steps=3), backend="torch", pipeline="auto")
    assert engine.pipeline == "sequential", "until it is measured"
    Device(per_call=0.05, per_row=0.0).attach(engine)
    with caplog.at_level(logging.INFO, "driftcam.engines.pipelines"):
        results = run_until_chosen(engine)
    assert engine.pipeline == engine.report()["pipeline"] == "stream"
    (line,) = [r.getMessage() for r in caplog.records if r.name == "driftcam.engines.pipelines"]
    assert line == f"pipeline stream: {engine.report()['why_pipeline']}" and line.count(" ms") == 2
    assert [result.index for result in results] == list(range(len(results)))


def test_a_device_whose_rows_cost_their_time_stays_sequential_and_is_measured_once() -> None:
    engine = Engine(SMALL.replace(steps=3), backend="torch", pipeline="auto")
    device = Device(per_call=0.0, per_row=0.05)
    device.attach(engine)
    run_until_chosen(engine)
    assert engine.pipeline == "sequential" and "1.2 times" in engine.report()["why_pipeline"]
    assert max(device.rows) == 3
    device.rows.clear()
    engine.update(engine.parameters.replace(strength=0.9))
    assert len(run_until_chosen(engine)) and set(device.rows) == {1}, "nothing is measured again"


def test_every_number_of_steps_is_measured_and_one_step_is_none() -> None:
    engine = Engine(SMALL.replace(steps=2), backend="torch", pipeline="auto")
    Device(per_call=0.05, per_row=0.0).attach(engine)
    run_until_chosen(engine)
    assert engine.pipeline == "stream"
    results: list[Stylised] = []
    for k, steps in enumerate([1, 1, 1, 2, 2, 4, 4, 4, 4, 1, 1], start=100):
        engine.update(engine.parameters.replace(steps=steps))
        results += engine.process(scene(k), pts=k)
        if steps == 1:
            assert engine.pipeline == "sequential" and engine.report()["why_pipeline"] == "a frame takes one step"
            assert results[-1].pts == k, "those in flight come out before it, and nothing lags behind"
    assert [result.pts for result in results] == list(range(100, 111))


@pytest.mark.parametrize("change", [5, 6, 7])
def test_pictures_are_the_same_whatever_pipeline_runs_when(change: int, monkeypatch) -> None:
    """From sequential to a batch and back in the middle of a clip, with the noise that the flow carries along."""
    parameters = SMALL.replace(steps=4, strength=0.8)
    frames = [np.roll(scene(7), 2 * k, 1) for k in range(14)]
    sequential = Engine(parameters, backend="torch")
    wanted = [sequential.process(frame)[0].image.astype(int).copy() for frame in frames]
    engine = Engine(parameters, backend="torch", pipeline="auto")
    now = pipelines.Choice("sequential", "")
    monkeypatch.setattr(engine._choosing, "consider", lambda *_: now)
    results: list[np.ndarray] = []
    for k, frame in enumerate(frames):
        now = pipelines.Choice("stream" if change - 4 <= k < change + 3 else "sequential", "")
        results += [result.image.astype(int).copy() for result in engine.process(frame, pts=k)]
    assert len(results) == len(wanted)
    assert max(np.abs(a - b).max() for a, b in zip(results, wanted, strict=True)) <= 1


def test_frames_that_the_gate_repeats_come_in_their_turn() -> None:
    """In a batch a frame that is like the last one may not overtake those that are being denoised."""
    engine = Engine(SMALL.replace(steps=4, similarity_threshold=0.9, max_skip=100), backend="torch", pipeline="stream")
    pictures = [0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 7, 7, 7, 7, 7, 7, 7, 7]
    results = []
    for k, picture in enumerate(pictures):
        results += [(r.pts, r.skipped, r.image.copy()) for r in engine.process(scene(picture), pts=k)]
    results += [(r.pts, r.skipped, r.image.copy()) for r in engine.flush()]
    assert [pts for pts, *_ in results] == list(range(len(pictures)))
    repeated = [a == b for a, b in itertools.pairwise([-1, *pictures])]
    assert [skipped for _, skipped, _ in results] == repeated
    for (_, _, before), (_, skipped, image) in itertools.pairwise(results):
        assert np.array_equal(before, image) is bool(skipped)


def test_measuring_changes_no_picture() -> None:
    """It borrows the networks' buffers between two frames."""
    parameters = Parameters(width=64, height=64, steps=2, noise="fixed")
    frames = [scene(k) for k in range(12)]
    plain = Engine(parameters, backend="torch")
    wanted = [plain.process(frame)[0].image.copy() for frame in frames]
    engine = Engine(parameters, backend="torch", pipeline="auto")
    torch.manual_seed(0)
    results = [r.image.copy() for k, frame in enumerate(frames) for r in engine.process(frame, pts=k)]
    results += [r.image.copy() for r in engine.flush()]
    assert "ms" in engine.report()["why_pipeline"], "it was measured meanwhile"
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(results, wanted, strict=True)) <= 1
