"""The stream batch against denoising each frame alone, and its book-keeping under live changes."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
import torch
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.diffusion.frame import Finished, Frame
from driftcam.engines.diffusion.guidance import DIFFERENCE, Guidance
from driftcam.engines.diffusion.plan import Plan
from driftcam.engines.diffusion.schedules import alphas_cumprod, ddim, dpmpp, flow, lcm, turbo
from driftcam.engines.diffusion.sequential import denoise
from driftcam.engines.diffusion.stream_batch import StreamBatch

LEVELS = alphas_cumprod()
MODES = ("none", "full", "self", "initialize")
SOLVERS = {
    "flow": flow,
    "flow dpmpp": lambda n, s: flow(n, s, "dpmpp"),
    "dpmpp v": lambda n, s: dpmpp(n, s, LEVELS, "v_prediction"),
    "lcm": lambda n, s: lcm(n, s, LEVELS),
    "ddim v": lambda n, s: ddim(n, s, LEVELS, "v_prediction"),
    "turbo": lambda n, s: turbo(n, s, LEVELS, "v_prediction"),
}


class Network:
    """A small fixed network in which neighbours and every condition matter, rows do not mix."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def predict(self, x: Tensor, t: Tensor, condition: dict[str, Tensor]) -> Tensor:
        assert len(x) == len(t) == len(condition["style"]) == len(condition["freedom"])
        self.rows.append(len(x))
        h = 0.5 * x.roll(1, dims=1) - 0.4 * x.roll(1, dims=2) + 0.3 * x.roll(-1, dims=3)
        style = condition["style"].mean(1) + condition["freedom"] + torch.sin(t)
        return torch.tanh(h + style[:, None, None, None]) * 0.9 + 0.1 * x

    @staticmethod
    def unconditional(condition: dict[str, Tensor]) -> dict[str, Tensor]:
        return condition | {"style": torch.zeros_like(condition["style"])}


@pytest.fixture
def network() -> Network:
    return Network()


def make_frame(tag: int, n: int = 8, size: tuple[int, int] = (4, 6)) -> Frame:
    generator = torch.Generator().manual_seed(tag)
    return Frame(
        latent=torch.randn(4, *size, generator=generator),
        noises=torch.randn(n, 4, *size, generator=generator),
        condition={"style": torch.randn(5, generator=generator), "freedom": torch.rand((), generator=generator)},
        tag=tag,
    )


def alone(frame: Frame, plan: Plan, network: Network) -> Tensor:
    [result] = denoise([frame], plan, network.predict, network.unconditional)
    return result.latent


def assert_same(results: list[Finished], frames: list[Frame], plans: list[Plan]) -> None:
    assert [result.tag for result in results] == [frame.tag for frame in frames]
    network = Network()
    for result, frame, plan in zip(results, frames, plans, strict=True):
        expected = alone(frame, plan, network)
        # An untrained network may leave unit variance behind; the tolerance is for latents of about that size.
        assert (result.latent - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("solver", SOLVERS)
def test_stream_batch_is_denoising_each_frame_alone(network, mode, n, solver):
    plan = Plan(SOLVERS[solver](n, 0.8), Guidance(mode, 1.6, 0.9))
    stream = StreamBatch(network.predict, plan, network.unconditional)
    frames = [make_frame(k) for k in range(2 * n + 3)]
    results = []
    for k, frame in enumerate(frames):
        done = stream.push(frame)
        assert len(done) == (k >= n - 1)
        results += done
    assert len(stream) == len(frames) - len(results)
    results += stream.flush()
    assert len(stream) == 0 and stream.flush() == []
    assert_same(results, frames, [plan] * len(frames))


@pytest.mark.parametrize(("mode", "rows"), [("none", 4), ("self", 4), ("initialize", 5), ("full", 8)])
def test_one_call_a_push_with_the_papers_number_of_rows(network, mode, rows):
    stream = StreamBatch(network.predict, Plan(flow(4, 1.0), Guidance(mode, 2.0)), network.unconditional)
    for k in range(10):
        stream.push(make_frame(k))
    assert len(network.rows) == 10
    assert network.rows[3:] == [rows] * 7
    assert network.rows[0] == (1 if mode in ("none", "self") else 2)  # grows from one frame: no empty slots


@pytest.mark.parametrize("mode", MODES)
def test_buffers_are_reused_while_the_pipeline_is_full(mode):
    seen = []

    def predict(x, t, condition):
        seen.append((x.data_ptr(), t.data_ptr(), *(value.data_ptr() for value in condition.values())))
        return torch.zeros_like(x)

    plan = Plan(lcm(3, 1.0, LEVELS), Guidance(mode, 2.0))
    stream = StreamBatch(predict, plan, Network.unconditional)
    for k in range(12):
        stream.push(make_frame(k))
    assert len(set(seen[2:])) == 1


def test_results_are_not_overwritten_by_later_frames(network):
    stream = StreamBatch(network.predict, Plan(flow(1, 1.0)))
    [first] = stream.push(make_frame(0))
    before = first.latent.clone()
    stream.push(make_frame(1))
    assert torch.equal(first.latent, before)


def test_strength_zero_gives_back_the_input_in_its_turn(network):
    stream = StreamBatch(network.predict, Plan(flow(3, 1.0)))
    assert stream.push(make_frame(0)) == stream.push(make_frame(1)) == []
    stream.reconfigure(plan=Plan(flow(3, 0.0)))
    results = [r for k in range(2, 6) for r in stream.push(make_frame(k))]
    results += stream.flush()
    assert [result.tag for result in results] == list(range(6))
    for k in range(2, 6):
        assert torch.equal(results[k].latent, make_frame(k).latent)
    calls = len(network.rows)
    [result] = stream.push(make_frame(9))
    assert result.tag == 9 and len(network.rows) == calls
    assert torch.equal(alone(make_frame(9), Plan(flow(3, 0.0)), network), make_frame(9).latent)


def test_a_deeper_or_shallower_pipeline_takes_over_without_a_loss(network):
    stream = StreamBatch(network.predict, Plan(flow(4, 1.0)))
    frames = [make_frame(k) for k in range(14)]
    plans, results = [], []
    for k, frame in enumerate(frames):
        if k in (5, 9):
            stream.reconfigure(plan=Plan(flow({5: 2, 9: 6}[k], 0.9)))
        plans.append(stream.plan)
        results += stream.push(frame)
    results += stream.flush()
    assert_same(results, frames, plans)


def test_sizes_never_mix(network):
    stream = StreamBatch(network.predict, Plan(flow(3, 1.0), Guidance("initialize", 2.0)), network.unconditional)
    frames = [make_frame(k, size=(4, 6) if k < 4 or k > 6 else (10, 4)) for k in range(12)]
    results = [r for frame in frames for r in stream.push(frame)] + stream.flush()
    assert_same(results, frames, [stream.plan] * 12)


def test_each_frame_keeps_the_network_it_entered_with(network):
    other = Network()
    stream = StreamBatch(network.predict, Plan(flow(3, 1.0)))
    for k in range(3):
        stream.push(make_frame(k))
    stream.reconfigure(predict=other.predict)
    network.rows.clear()
    for k in range(3, 6):
        stream.push(make_frame(k))
    assert network.rows == [2, 1] and other.rows == [1, 2, 3]


@pytest.mark.parametrize("seed", range(12))
def test_random_live_changes_lose_repeat_and_reorder_nothing(seed):
    network, draw = Network(), random.Random(seed)
    stream = StreamBatch(network.predict, Plan(flow(2, 1.0)), network.unconditional)
    frames: list[Frame] = []
    plans: list[Plan] = []
    results: list[Finished] = []
    size = (4, 6)
    for _ in range(120):
        if draw.random() < 0.25:
            solver = SOLVERS[draw.choice(list(SOLVERS))]
            guidance = Guidance(draw.choice(MODES), draw.choice([0.5, 1.0, 1.4, 3.0]), draw.choice([0.0, 0.7, 1.0]))
            strength = draw.choice([0.0, 0.3, 0.8, 1.0])
            stream.reconfigure(plan=Plan(solver(draw.randint(1, 8), strength), guidance))
        if draw.random() < 0.1:
            size = draw.choice([(4, 6), (4, 4), (8, 6)])
        if draw.random() < 0.03:
            results += stream.flush()
        if draw.random() < 0.2:
            results += stream.advance()
        else:
            frames.append(make_frame(len(frames), size=size))
            plans.append(stream.plan)
            results += stream.push(frames[-1])
        assert len(stream) == len(frames) - len(results)
        # A frame waits for at most eight pushes of its own and the eight of a deeper pipeline before it.
        assert len(stream) <= 16
    results += stream.flush()
    assert_same(results, frames, plans)


@pytest.mark.parametrize("n", [1, 3])
def test_a_network_that_fails_costs_only_the_frames_of_that_push(network, n):
    failing = False

    def predict(x, t, condition):
        if failing:
            raise RuntimeError("out of memory")
        return network.predict(x, t, condition)

    stream = StreamBatch(predict, Plan(lcm(n, 1.0, LEVELS), Guidance("initialize", 2.0)), network.unconditional)
    frames = [make_frame(k) for k in range(9)]
    results = []
    for k, frame in enumerate(frames):
        failing = k in (0, 4, 5)
        if failing:
            with pytest.raises(RuntimeError, match="out of memory"):
                stream.push(frame)
        else:
            results += stream.push(frame)
    results += stream.flush()
    kept = [frame for k, frame in enumerate(frames) if k not in (0, 4, 5)]
    assert_same(results, kept, [stream.plan] * len(kept))


def test_a_flush_that_fails_can_be_repeated(network):
    calls = 0

    def predict(x, t, condition):
        nonlocal calls
        calls += 1
        if calls in (5, 7):
            raise RuntimeError("out of memory")
        return network.predict(x, t, condition)

    plan = Plan(flow(4, 1.0))
    stream = StreamBatch(predict, plan)
    frames = [make_frame(k) for k in range(4)]
    results = [r for frame in frames for r in stream.push(frame)]
    for _ in range(2):
        with pytest.raises(RuntimeError):
            stream.flush()
    assert_same(results + stream.flush(), frames, [plan] * 4)


def bad_frames() -> dict[str, Frame]:
    good = make_frame(1)
    return {
        "latent": Frame(good.latent[0], good.noises, good.condition),
        "noises": Frame(good.latent, good.noises[:1], good.condition),
        "noises ": Frame(good.latent, good.noises[..., 1:], good.condition),
        "noises  ": Frame(good.latent, good.noises.double(), good.condition),
        "difference": dataclasses.replace(good, carried={DIFFERENCE: good.latent[:1]}),
        "condition": Frame(good.latent, good.noises, {"style": good.condition["style"]}),
        "condition 'style'": Frame(good.latent, good.noises, good.condition | {"style": torch.zeros(7)}),
    }


@pytest.mark.parametrize("field", bad_frames())
def test_a_frame_that_does_not_fit_is_named_and_changes_nothing(network, field):
    plan = Plan(lcm(3, 1.0, LEVELS))
    good, bad = make_frame(2), bad_frames()[field]
    with pytest.raises(ParameterError, match=f"^{field.strip()}:"):
        denoise([good, bad], plan, network.predict)
    if field.startswith("condition"):
        return  # a frame of another condition starts a stream batch of its own
    stream = StreamBatch(network.predict, plan)
    frames = [make_frame(k) for k in range(6)]
    results = stream.push(frames[0])
    with pytest.raises(ParameterError, match=f"^{field.strip()}:"):
        stream.push(bad)
    results += [r for frame in frames[1:] for r in stream.push(frame)] + stream.flush()
    assert_same(results, frames, [plan] * 6)


def test_settings_that_cannot_work_are_named_and_the_old_ones_stay(network):
    stream = StreamBatch(network.predict, Plan(flow(2, 1.0)))
    for mode in ("full", "initialize"):
        with pytest.raises(ParameterError, match="guidance"):
            stream.reconfigure(plan=Plan(flow(2, 1.0), Guidance(mode, 2.0)))
        stream.reconfigure(plan=Plan(flow(2, 1.0), Guidance(mode, 1.0)))  # g = 1 needs no negative
        assert len(stream.push(make_frame(0)) + stream.flush()) == 1


# The guidance modes reduce to each other where the algebra says so.


def results_of(mode: str, n: int, scale: float, delta: float, solver: str = "flow", **callables) -> Tensor:
    network = Network()
    plan = Plan(SOLVERS[solver](n, 0.5), Guidance(mode, scale, delta))
    predict = callables.get("predict", network.predict)
    unconditional = callables.get("unconditional", network.unconditional)
    return torch.stack([r.latent for r in denoise([make_frame(k) for k in range(3)], plan, predict, unconditional)])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n", [1, 2, 4])
class TestReductions:
    def test_scale_of_one_or_less_is_none(self, n, solver):
        expected = results_of("none", n, 1.0, 1.0, solver)
        for mode in MODES:
            for scale in (0.0, 0.5, 1.0):
                assert torch.equal(results_of(mode, n, scale, 0.7, solver), expected)

    def test_full_with_equal_conditions_is_none(self, n, solver):
        actual = results_of("full", n, 3.0, 1.0, solver, unconditional=lambda condition: condition)
        torch.testing.assert_close(actual, results_of("none", n, 1.0, 1.0, solver), atol=1e-5, rtol=0)

    def test_initialize_with_one_step_is_full(self, n, solver):
        if n > 1:
            assert not torch.allclose(
                results_of("initialize", n, 2.0, 1.0, solver), results_of("full", n, 2.0, 1.0, solver)
            )
        else:
            torch.testing.assert_close(
                results_of("initialize", 1, 2.0, 1.0, solver),
                results_of("full", 1, 2.0, 1.0, solver),
                atol=1e-5,
                rtol=0,
            )

    def test_initialize_is_self_where_the_unconditional_network_finds_the_input(self, n, solver):
        frames = [make_frame(k) for k in range(3)]
        plan = Plan(SOLVERS[solver](n, 0.5))
        latents = torch.stack([frame.latent for frame in frames])
        estimates = {step.timestep: step.estimate for step in plan.schedule.steps}
        network = Network()

        def predict(x, t, condition):
            output = network.predict(x, t, condition)
            if len(x) == 6:  # the output that stands for the clean input, in the unconditional rows
                from_x, from_output = estimates[min(estimates, key=lambda level: abs(level - t[0].item()))]
                output[3:] = (latents - from_x * x[3:]) / from_output
            return output

        torch.testing.assert_close(
            results_of("initialize", n, 2.0, 0.8, solver, predict=predict),
            results_of("self", n, 2.0, 0.8, solver),
            atol=1e-5,
            rtol=0,
        )

    def test_a_step_of_none_is_the_solvers_step(self, n, solver):
        frame, network = make_frame(0), Network()
        schedule = SOLVERS[solver](n, 0.5)
        x = schedule.steps[0].alpha * frame.latent + schedule.steps[0].sigma * frame.noises[0]
        previous = torch.zeros_like(x)
        for i, step in enumerate(schedule.steps):
            condition = {key: value[None] for key, value in frame.condition.items()}
            output = network.predict(x[None], torch.tensor([step.timestep]), condition)[0]
            x0 = step.estimate[0] * x + step.estimate[1] * output
            keep, gain, history, renoise = step.advance
            x = keep * x + gain * x0 + history * previous + renoise * frame.noises[(i + 1) % 8]
            previous = x0
        torch.testing.assert_close(alone(frame, Plan(schedule), network), x, atol=1e-5, rtol=0)


def test_half_precision_runs_in_both_forms(network):
    half = make_frame(0)
    frame = Frame(
        half.latent.bfloat16(), half.noises.bfloat16(), {k: v.bfloat16() for k, v in half.condition.items()}, 0
    )

    def predict(x, t, condition):
        assert x.dtype == torch.bfloat16 and t.dtype == torch.float32
        return torch.tanh(x)

    for mode, delta in (("none", 0.5), ("self", 0.5), ("initialize", 1.0), ("full", 1.0)):
        plan = Plan(lcm(2, 1.0, LEVELS, "v_prediction"), Guidance(mode, 1.5, delta))
        stream = StreamBatch(predict, plan, dict)
        [result] = stream.push(frame) + stream.flush()
        [expected] = denoise([frame], plan, predict, dict)
        assert result.latent.dtype == expected.latent.dtype == torch.bfloat16
        error = (result.latent.float() - expected.latent.float()).abs().max()
        assert math.isfinite(error) and error < 0.2


def leaving(frame: Frame, left: dict) -> Frame:
    """`frame`, which writes down under its tag what it leaves."""
    return dataclasses.replace(frame, leave=lambda name, state: left.setdefault(frame.tag, {}).update({name: state}))


def test_a_carried_difference_spares_the_negative_rows(network):
    """The frame's own gives the same picture; where one of several is missing, all are asked for."""
    plan, left = Plan(flow(3, 0.9), Guidance("initialize", 1.7)), {}
    frames = [make_frame(0), make_frame(1)]
    asked = denoise([leaving(frame, left) for frame in frames], plan, network.predict, network.unconditional)
    assert network.rows == [4, 2, 2]
    known = [dataclasses.replace(frame, carried=left[frame.tag]) for frame in frames]
    left, again_left = {}, {}
    network.rows.clear()
    again = denoise([leaving(f, again_left) for f in known], plan, network.predict, network.unconditional)
    assert network.rows == [2, 2, 2] and not again_left
    for first, second in zip(asked, again, strict=True):
        torch.testing.assert_close(second.latent, first.latent)
    denoise([known[0], frames[1]], plan, network.predict, network.unconditional)
    assert network.rows[3:] == [4, 2, 2]
    for mode in ("none", "self", "full"):
        other = Plan(flow(3, 0.9), Guidance(mode, 1.7))
        denoise([leaving(known[0], left)], other, network.predict, network.unconditional)
    assert not left


@pytest.mark.parametrize("solver", ["flow", "dpmpp v", "lcm"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_stream_carries_the_difference_alike_in_both_pipelines(n, solver):
    """Asked for on every third frame and after a change of plan, seen by the others, which take no negative row."""
    frames = [make_frame(k) for k in range(14)]
    plans = [Plan(SOLVERS[solver](n, 0.8 if k < 7 else 0.5), Guidance("initialize", 1.7, 0.9)) for k in range(14)]
    asks = {0, 3, 6, 7, 10, 13}

    def run(take) -> tuple[list[Finished], list[int]]:
        network, carried, results = Network(), {}, []
        for k, frame in enumerate(frames):
            seen = {} if k in asks else dict(carried)
            frame = dataclasses.replace(frame, carried=seen, leave=carried.__setitem__)
            results += take(network, frame, plans[k])
        return results, network.rows

    def one_by_one(network: Network, frame: Frame, plan: Plan) -> list[Finished]:
        return denoise([frame], plan, network.predict, network.unconditional)

    streams: dict[int, StreamBatch] = {}

    def in_a_stream(network: Network, frame: Frame, plan: Plan) -> list[Finished]:
        stream = streams.setdefault(0, StreamBatch(network.predict, plan, network.unconditional))
        stream.reconfigure(plan=plan)
        return stream.push(frame)

    expected, rows = run(one_by_one)
    assert rows == [2 if k in asks and i == 0 else 1 for k in range(14) for i in range(n)]
    results, rows = run(in_a_stream)
    results += streams[0].flush()
    assert rows[:14] == [min(k + 1, n) + (k in asks) for k in range(14)]
    assert [result.tag for result in results] == list(range(14))
    for result, wanted in zip(results, expected, strict=True):
        assert (result.latent - wanted.latent).abs().max() <= 1e-5 * max(1, wanted.latent.abs().max())
    own = alone(frames[1], plans[1], Network())
    assert (results[1].latent - own).abs().max() > 1e-3, "it saw another frame's difference"


def test_a_frame_that_fails_leaves_nothing(network):
    def predict(x, t, condition):
        raise RuntimeError("out of memory")

    plan, left = Plan(flow(2, 1.0), Guidance("initialize", 2.0)), {}
    frame = leaving(make_frame(0), left)
    stream = StreamBatch(predict, plan, network.unconditional)
    for attempt in (lambda: stream.push(frame), lambda: denoise([frame], plan, predict, network.unconditional)):
        with pytest.raises(RuntimeError, match="out of memory"):
            attempt()
    assert not left


def test_history_of_another_frame_is_never_seen(network):
    """A row that held an infinite x̂₀ is as good as new for the frame that follows on it."""
    plan = Plan(flow(4, 0.8, "dpmpp"))
    broken = dataclasses.replace(make_frame(0), latent=torch.full((4, 4, 6), torch.inf))
    stream = StreamBatch(network.predict, plan)
    frames = [broken, *(make_frame(k) for k in range(1, 9))]
    results = [r for frame in frames for r in stream.push(frame)] + stream.flush()
    assert_same(results[1:], frames[1:], [plan] * 8)
