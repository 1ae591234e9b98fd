"""The engine as a library: what goes in comes out, steadily, whatever changes on the way."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftcam import Engine, ParameterError, Parameters
from driftcam.engines.conditions.freedom import degrade, hiding_level, hiding_noise
from driftcam.engines.conditions.style import style_input
from driftcam.engines.models.embedded.model import WEIGHTS, load_networks

SMALL = Parameters(width=64, height=64, steps=1)


def scene(seed: int = 0, height: int = 64, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def engine():
    """One engine for the tests that leave its parameters as they found them."""
    return Engine(SMALL)


def test_the_readme_example():
    from driftcam import Engine, Parameters

    engine = Engine(Parameters(styles=(("great-wave", 1.0),), strength=1.0, steps=2, width=64, height=64))
    frame = np.zeros((48, 80, 3), np.uint8)
    stylised = engine.step(frame)
    assert stylised.shape == (64, 64, 3)
    assert stylised.dtype == np.uint8


def test_the_same_seed_gives_the_same_frames_and_another_seed_others():
    frames = [scene(0), np.roll(scene(0), 3, 1), np.roll(scene(0), 6, 1)]
    first, again, other = ([Engine(SMALL.replace(seed=seed)).step(f) for f in frames[:1]] for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_strength_zero_is_the_reconstruction(engine):
    picture = scene(1)
    gone = Engine(SMALL.replace(strength=0.0)).step(picture)
    error = gone.astype(float) - picture
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 30


def test_one_step_is_the_flow_models_own_euler_step():
    """Against the mathematics written out with the plain torch networks and the engine's own noise."""
    machine = Engine(SMALL.replace(strength=0.6, freedom=0.4), backend="torch")
    taken = {}
    advance = machine._noise.advance
    machine._noise.advance = lambda *a, **k: taken.setdefault("noise", advance(*a, **k))  # type: ignore[method-assign]
    picture = scene(2)
    result = machine.step(picture)
    noise = torch.from_numpy(taken["noise"].copy())
    encoder, decoder, unet = load_networks(WEIGHTS)
    with torch.no_grad():
        photo = encoder(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)
        x = 0.4 * photo + 0.6 * noise
        level = torch.tensor([hiding_level(0.4)])
        velocity = unet(
            x, torch.tensor([0.6]), degrade(photo, hiding_noise(noise[:1]), level), level, style_input(SMALL)
        )
        expected = ((decoder(x - 0.6 * velocity) + 1) * 127.5).clamp(0, 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(result - expected).max() <= 1


def test_what_no_style_would_paint_is_asked_for_on_every_third_frame_and_after_a_cut():
    machine = Engine(SMALL.replace(guidance="initialize", guidance_scale=1.6, steps=2), backend="torch")
    rows, predict = [], machine.model.predict
    machine.model.predict = lambda x, t, c: rows.append(len(x)) or predict(x, t, c)  # type: ignore[method-assign]
    still, other = scene(1), scene(7)
    results = [machine.step(still) for _ in range(4)]
    assert rows == [2, 1, 1, 1, 1, 1, 2, 1]
    np.testing.assert_array_equal(results[1], results[0])
    large = np.hstack([other, other, other])
    for change in ({}, {"styles": (("inferno", 1.0),)}, {"noise": "fixed"}, {"noise": "warped", "degradation": 0.5}):
        machine.update(machine.parameters.replace(**change))
        rows.clear()
        machine.step(other)
        assert rows == [2, 1], change
    for noise, more in (
        ("fixed", {}),
        ("independent", {}),
        ("warped", {"degradation": 0.5}),
        ("warped", {"refresh": 0.5}),
    ):
        machine.update(machine.parameters.replace(**{"degradation": 0.0, "refresh": 0.0, "noise": noise, **more}))
        rows.clear()
        for _ in range(3):
            machine.step(other)
        assert rows == [2, 1] * 3, "noise that is not the frame's before"
    machine.update(machine.parameters.replace(noise="warped", refresh=0.0))
    rows.clear()
    jumps = []
    for k in range(8):  # half a cell a frame
        machine.step(np.ascontiguousarray(large[:, 4 * k : 4 * k + 64]))
        jumps.append(machine._canvas.anchor.jump != (0, 0))
    asked = [pair == (2, 1) for pair in itertools.pairwise(rows)][::2]
    assert any(jumps) and all(a or not j for a, j in zip(asked, jumps, strict=True)), "the scene lies on other cells"
    assert not all(asked)


@pytest.mark.parametrize("shape", [(64, 64), (50, 70, 1), (33, 91, 3), (120, 40, 4)])
def test_frames_of_any_size_and_kind_give_the_configured_size(engine, shape):
    frame = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    assert engine.step(frame).shape == (64, 64, 3)


def test_a_bad_frame_is_refused_and_the_stream_goes_on(engine):
    with pytest.raises(ParameterError, match="NaN"):
        engine.step(np.full((8, 8, 3), np.nan))
    assert engine.step(scene()).any()


def test_a_size_that_is_no_multiple_of_32_keeps_its_shape_and_its_picture():
    picture = scene(3, 72, 104)
    result = Engine(SMALL.replace(width=104, height=72, strength=0.0)).step(picture)
    assert result.shape == (72, 104, 3)
    assert np.abs(result.astype(int) - picture).mean() < 8


def test_stream_pipeline_gives_every_frame_once_and_in_order():
    machine = Engine(SMALL.replace(steps=3), pipeline="stream")
    frames = [scene(k) for k in range(6)]
    results = [r for k, frame in enumerate(frames) for r in machine.process(frame, pts=100 + k)]
    assert [r.index for r in results] == [0, 1, 2, 3]
    results += machine.flush()
    assert [(r.index, r.pts) for r in results] == [(k, 100 + k) for k in range(6)]


@pytest.mark.parametrize("guidance", ["none", "initialize"])
def test_stream_and_sequential_pipelines_paint_the_same_pictures(guidance):
    parameters = SMALL.replace(steps=2, strength=0.8, guidance=guidance, guidance_scale=1.6)
    frames = [*(np.roll(scene(7), 2 * k, 1) for k in range(4)), scene(8), scene(8)]
    sequential = Engine(parameters, backend="torch")
    stream = Engine(parameters, backend="torch", pipeline="stream")
    rows, predict = [], stream.model.predict
    stream.model.predict = lambda x, t, c: rows.append(len(x)) or predict(x, t, c)  # type: ignore[method-assign]
    stream.update(parameters)  # takes the network that counts
    one = [sequential.step(frame).astype(int) for frame in frames]
    two = [r.image.astype(int).copy() for frame in frames for r in stream.process(frame)]
    two += [r.image.astype(int) for r in stream.flush()]
    for a, b in zip(one, two, strict=True):
        assert np.abs(a - b).max() <= 1
    asked = [True, False, False, True, True, False]  # every third frame, and after a cut
    assert rows == [min(k + 1, 2) + (guidance == "initialize" and asked[k]) for k in range(6)] + [1]


def test_step_always_has_a_picture_even_while_the_stream_fills():
    machine = Engine(SMALL.replace(steps=4), pipeline="stream")
    assert all(machine.step(scene(k)).shape == (64, 64, 3) for k in range(6))


def test_a_new_size_is_prepared_beside_the_stream_and_no_frame_is_missing():
    machine = Engine(SMALL)
    machine.step(scene())
    machine.update(machine.parameters.replace(width=96, height=96))
    sizes = []
    deadline = time.monotonic() + 60
    while (not sizes or sizes[-1] != (96, 96)) and time.monotonic() < deadline:
        sizes.append(machine.step(scene()).shape[:2])
    assert sizes[0] == (64, 64)
    assert sizes[-1] == (96, 96)
    assert set(sizes) == {(64, 64), (96, 96)}


@pytest.mark.parametrize("pipeline", ["sequential", "stream"])
def test_a_change_of_size_and_guidance_loses_no_frame_in_flight(pipeline):
    machine = Engine(SMALL.replace(steps=3), pipeline=pipeline, backend="torch")
    seen = []
    for k in range(12):
        if k == 4:
            machine.update(machine.parameters.replace(width=96, height=72, guidance="full", guidance_scale=2.0))
        for result in machine.process(scene(k), pts=k):
            assert result.image.shape in ((64, 64, 3), (72, 96, 3))
            seen.append((result.index, result.image.shape[0]))
        time.sleep(0.05)  # the new networks are prepared meanwhile
    seen += [(r.index, r.image.shape[0]) for r in machine.flush()]
    assert [index for index, _ in seen] == list(range(12))
    assert seen[-1][1] == 72


def test_time_that_goes_backwards_is_refused_and_the_stream_goes_on(engine):
    machine = Engine(SMALL)
    machine.process(scene(), pts=10)
    with pytest.raises(ParameterError, match="order of time"):
        machine.process(scene(), pts=9)
    assert [r.pts for r in machine.process(scene(), pts=10)] == [10]


def test_gate_shows_a_change_of_style_at_once():
    machine = Engine(SMALL.replace(similarity_threshold=0.9, max_skip=100))
    machine.process(scene())
    assert machine.process(scene())[0].skipped
    machine.update(machine.parameters.replace(styles=(("inferno", 1.0),)))
    assert not machine.process(scene())[0].skipped


def test_gate_repeats_a_still_picture_and_wakes_on_a_cut():
    machine = Engine(SMALL.replace(similarity_threshold=0.9, max_skip=3))
    still = scene(0)
    skipped = [machine.process(still)[0].skipped for _ in range(9)]
    assert skipped == [False, True, True, True, False, True, True, True, False]
    assert not machine.process(scene(1))[0].skipped
    assert machine.report()["skipped"] == 6


def test_gate_lets_frames_in_flight_finish():
    machine = Engine(SMALL.replace(steps=3, similarity_threshold=0.9, max_skip=100), pipeline="stream")
    seen = [r.index for _ in range(3) for r in machine.process(scene(0)) if not r.skipped]
    assert seen == [0]


CHANGES = st.fixed_dictionaries({}, optional={
    "strength": st.floats(-0.5, 1.5), "freedom": st.floats(-0.5, 1.5), "steps": st.integers(-1, 5),
    "guidance": st.sampled_from(["none", "full", "self", "initialize", "wild"]),
    "guidance_scale": st.floats(0, 25), "delta": st.floats(0, 3), "seed": st.integers(-3, 3),
    "noise": st.sampled_from(["warped", "fixed", "independent", "boiling"]),
    "refresh": st.floats(0, 1.2), "degradation": st.floats(0, 1.2),
    "similarity_threshold": st.floats(0, 1.2), "max_skip": st.integers(0, 3),
    "styles": st.sampled_from([(("weave", 1.0),), (("weave", 1.0), ("fresco", 2.0)), (("wave", 1.0),)]),
    "travel": st.floats(-1, 5e-9), "memory": st.floats(-0.5, 1.5),
})  # fmt: skip


@settings(max_examples=2)
@given(st.lists(CHANGES, min_size=40, max_size=40), st.sampled_from(["sequential", "stream"]))
def test_random_changes_never_lose_a_frame_or_break_the_picture(changes, pipeline):
    machine = Engine(SMALL, pipeline=pipeline, backend="torch")  # compiles nothing for each new batch size
    wanted = SMALL
    seen = []
    for k, change in enumerate(changes):
        try:
            asked = wanted.replace(**change)
            machine.update(asked)
            wanted = asked
        except ParameterError as error:
            assert error.field in (*change, "style weight")
        for result in machine.process(np.roll(scene(0), k, 1), pts=k):
            assert result.image.shape == (64, 64, 3)
            seen.append(result.index)
    count = len(changes)
    deadline = time.monotonic() + 60
    while (
        machine.parameters != wanted and time.monotonic() < deadline
    ):  # networks for another guidance are prepared beside the stream
        seen += [r.index for r in machine.process(scene(0), pts=count)]
        count += 1
    seen += [r.index for r in machine.flush()]
    assert seen == list(range(count))


def test_report_names_stages_backend_and_memory(engine):
    engine.step(scene())
    report = engine.report()
    assert {"prepare", "flow", "warp", "readout", "encode", "denoise", "decode", "frame"} <= set(report["stages_ms"])
    assert "openvino" in report["backend"]
    assert 50 < report["memory_mb"] < 4000


def test_an_unknown_pipeline_is_refused():
    with pytest.raises(ParameterError, match="sequential"):
        Engine(SMALL, pipeline="magic")
