"""Several streams in one process: what one shows is what it would show alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftcam.engines.api.bus import Message, MessageType
from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.api.planes import NO_PLANES
from driftcam.engines.diffusion.frame import Frame
from driftcam.engines.diffusion.guidance import Guidance
from driftcam.engines.diffusion.plan import Plan, may_share
from driftcam.engines.diffusion.schedules import ddim, flow
from driftcam.engines.diffusion.sequential import denoise
from driftcam.engines.engine import Engine
from driftcam.engines.host import EngineHost, grouped
from driftcam.engines.worker.inbox import Inbox

SIDE = 64
ALONE = EngineOptions(pipeline="sequential")  # a batch of the stream's own frames is measured with further rows
LOOKS = (
    Parameters(width=SIDE, height=SIDE, steps=2, styles=(("great-wave", 1),), seed=1),
    Parameters(width=SIDE, height=SIDE, steps=2, styles=(("inferno", 1),), seed=2, strength=0.7, freedom=0.6),
    Parameters(width=SIDE, height=SIDE, steps=2, styles=(("charcoal-wash", 1),), seed=3, similarity_threshold=0.9),
)


def clip(number: int, frames: int = 5) -> list[np.ndarray]:
    """A picture of its own that moves; that of stream 2 stands still, so that its gate repeats it."""
    noise = np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    scene = cv2.resize(noise, (96, 96), interpolation=cv2.INTER_CUBIC)
    steps = [0 if number == 2 else 2 * k for k in range(frames)]
    return [np.ascontiguousarray(scene[k : k + SIDE, k : k + SIDE]) for k in steps]


def alone(number: int) -> list[np.ndarray]:
    engine = Engine(LOOKS[number])
    return [engine.process(frame, k)[0].image.copy() for k, frame in enumerate(clip(number))]


def in_company(host: EngineHost, streams: Sequence[int]) -> list[list[np.ndarray]]:
    engines = [host.open(LOOKS[number]) for number in streams]
    for rows in range(1, len(streams) + 1):
        engines[0].model.prepare(LOOKS[0], rows)
    clips = [clip(number) for number in streams]
    shown: list[list[np.ndarray]] = [[] for _ in streams]
    for k in range(len(clips[0])):
        for job, results in host.process([(engine, clips[n][k], k, NO_PLANES) for n, engine in enumerate(engines)]):
            shown[job] += [result.image.copy() for result in results]
    return shown


def distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return max(float(np.abs(x.astype(int) - y).mean()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("together", [False, True])
def test_no_stream_sees_anything_of_another(together: bool) -> None:
    calls: list[int] = []
    host = EngineHost(ALONE, together=together)
    real = host._models.get

    def watched(*key: object) -> object:
        model = real(*key)
        if not hasattr(model, "watched"):
            predict, model.watched = model.predict, True
            model.predict = lambda x, t, c: calls.append(len(x)) or predict(x, t, c)
        return model

    host._models.get = watched
    shown = in_company(host, range(len(LOOKS)))
    wanted = [alone(number) for number in range(len(LOOKS))]
    for number in range(len(LOOKS)):
        assert distance(shown[number], wanted[number]) < 2.0, f"stream {number}"
        for other in range(number):
            assert distance(wanted[number], wanted[other]) > 15, "the test cannot tell the streams apart"
    assert max(calls) == (3 if together else 1)


def test_streams_of_one_size_share_their_networks() -> None:
    host = EngineHost()
    first, second = host.open(LOOKS[0]), host.open(LOOKS[1])
    assert first.model is second.model
    assert host.open(LOOKS[0].replace(width=96)).model is not first.model


def test_until_the_networks_for_more_rows_are_compiled_it_goes_one_by_one() -> None:
    host = EngineHost(ALONE, together=True)
    engines = [host.open(LOOKS[number]) for number in (0, 1)]
    assert not engines[0].model.ready(LOOKS[0], 2)
    end = time.monotonic() + 60
    k = 0
    while k < 2 or not engines[0].model.ready(LOOKS[0], 2):
        assert time.monotonic() < end
        done = [job for job, results in host.process([(e, clip(0)[0], k, NO_PLANES) for e in engines]) if results]
        assert sorted(done) == [0, 1]
        k += 1


def test_only_frames_that_fit_share_a_call() -> None:
    host = EngineHost()
    looks = [LOOKS[0], LOOKS[1], LOOKS[0].replace(steps=1), LOOKS[0].replace(guidance="self", guidance_scale=1.5)]
    items = [(number, host.open(look), Frame(torch.zeros(1), torch.zeros(1))) for number, look in enumerate(looks)]
    assert [[number for number, *_ in group] for group in grouped(items)] == [[0, 1], [2], [3]]


ALPHAS = np.linspace(0.999, 0.01, 1000).tolist()
PLANS = st.sampled_from(
    [Plan(flow(steps, s), Guidance(mode, scale)) for steps in (1, 2, 3) for s in (0.4, 1.0)
     for mode, scale in (("none", 1.0), ("full", 2.0), ("self", 1.5), ("initialize", 1.5))]
    + [Plan(ddim(2, s, ALPHAS)) for s in (0.5, 0.9)]
)  # fmt: skip


@given(st.lists(PLANS, min_size=2, max_size=4), st.integers(0, 99))
def test_frames_denoised_together_come_out_as_alone(plans: list[Plan], seed: int) -> None:
    plans = [plan for plan in plans if may_share(plan, plans[0])]
    rng = torch.Generator().manual_seed(seed)
    fields = plans[0].schedule.noise_fields

    def predict(x: torch.Tensor, t: torch.Tensor, condition: dict[str, torch.Tensor]) -> torch.Tensor:
        return 0.3 * x + (t / 1000 + condition["style"])[:, None, None, None]

    def unconditional(condition: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"style": torch.zeros_like(condition["style"])}

    def frame(number: int) -> Frame:
        latent, noises = torch.randn(2, 3, 3, generator=rng), torch.randn(fields, 2, 3, 3, generator=rng)
        return Frame(latent, noises, {"style": torch.tensor(float(number))}, number)

    frames = [frame(number) for number in range(len(plans))]
    together = denoise(frames, plans, predict, unconditional)
    assert [done.tag for done in together] == list(range(len(plans)))
    for done, frame, plan in zip(together, frames, plans, strict=True):
        (wanted,) = denoise([frame], plan, predict, unconditional)
        torch.testing.assert_close(done.latent, wanted.latent, rtol=1e-4, atol=1e-4)


KINDS = st.sampled_from([MessageType.FRAME, MessageType.FRAME, MessageType.PARAMETERS, MessageType.REPORT])
SENT = st.lists(st.tuples(st.integers(1, 4), KINDS), max_size=40)


@given(SENT, st.sets(st.integers(1, 4)), st.lists(st.integers(0, 40), max_size=6))
def test_every_stream_is_served_in_every_round_and_none_waits_for_another(
    sent: list[tuple[int, MessageType]], live: set[int], turns: list[int]
) -> None:
    dropped: list[Message] = []
    served: list[Message] = []
    inbox = Inbox(dropped.append)
    waiting: dict[int, list[Message]] = {}

    def take() -> None:
        round_ = inbox.take()
        assert {message.stream for message in round_} == {number for number, queue in waiting.items() if queue}
        assert len(round_) == len({message.stream for message in round_}), "twice in a round"
        for message in round_:
            assert waiting[message.stream].pop(0) == message, "out of order"
        served.extend(round_)

    for number, (stream, kind) in enumerate(sent):
        message = Message(kind, stream=stream, sequence=number)
        queue = waiting.setdefault(stream, [])
        if kind is MessageType.FRAME and stream in live:
            queue[:] = [old for old in queue if old.type is not MessageType.FRAME]
        queue.append(message)
        inbox.put(message, live=stream in live)
        if number in turns:
            take()
    while any(waiting.values()):
        take()
    assert len(served) + len(dropped) == len(sent)
    assert all(message.type is MessageType.FRAME and message.stream in live for message in dropped)


def test_what_is_loaded_before_a_fork_starts_no_thread_and_touches_no_graphics_card() -> None:
    """Neither would work in the child (`engines.worker.fork_server`)."""
    code = """
import threading, torch

def touched(*args, **kwargs): raise AssertionError("a graphics card was asked for")

for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "mem_get_info"):
    setattr(torch.cuda, name, touched)
from driftcam.engines.worker.fork_server import stay_alone
from driftcam.engines.worker.main import open_host
from driftcam.engines.api.engine_options import EngineOptions

stay_alone()
open_host("driftcam.engines.host:EngineHost", EngineOptions())
assert threading.active_count() == 1, threading.enumerate()
assert not torch.cuda.is_initialized()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
