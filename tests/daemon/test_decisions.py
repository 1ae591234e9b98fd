"""The pure decisions: sizes, addresses, restarts, rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.admission import Limits, refusal
from driftcam.daemon.config.specs import Spec, device_number, parse_listen, parse_sink, parse_size, parse_source
from driftcam.daemon.engine.process import ending
from driftcam.daemon.engine.state import FOLLOWS, EngineState, Timeouts, hangs, restart_delay, transition
from driftcam.daemon.measure import Patience, Samples
from driftcam.daemon.session.waiting import why_no_picture
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.memory import peak_memory_mb
from driftcam.engines.api.sizes import model_size
from driftcam.webrtc.measure import Rate


@pytest.mark.parametrize(
    ("source", "model"),
    [((1920, 1080), (512, 288)), ((1080, 1920), (288, 512)), ((640, 480), (448, 320)), ((100, 100), (384, 384))],
)
def test_the_model_gets_the_shape_of_the_source(source: tuple[int, int], model: tuple[int, int]) -> None:
    assert model_size(*source) == model


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_every_source_has_a_size_that_the_model_accepts(width: int, height: int) -> None:
    model_width, model_height = model_size(width, height)
    Parameters(width=model_width, height=model_height)


def test_words_after_source_and_sink() -> None:
    assert parse_source("clip:a:b.mp4") == Spec("clip", "a:b.mp4")
    assert parse_source("webcam") == Spec("webcam")
    assert device_number(parse_source("webcam:/dev/video2").argument) == 2
    assert str(parse_sink("virtualcam:10")) == "virtualcam:10"
    assert parse_size("384") == (384, 384)
    assert parse_size("512x288") == parse_size("512×288") == (512, 288)


@pytest.mark.parametrize("text", ["127.0.0.1:8900", "localhost:1", "[::1]:80", "127.8.8.8:0"])
def test_this_machine_may_be_listened_on(text: str) -> None:
    parse_listen(text)


@pytest.mark.parametrize("text", ["0.0.0.0:8900", "[::]:80", "192.168.1.2:80", "example.org:80", ":80", "127.0.0.1:"])
def test_no_other_address_may(text: str) -> None:
    with pytest.raises(ParameterError, match="listen"):
        parse_listen(text)


def test_restarts_come_slower_and_slower_up_to_a_limit() -> None:
    timeouts = Timeouts(backoff=0.25, backoff_most=8.0)
    assert [restart_delay(timeouts, n) for n in (1, 2, 3, 4, 7, 50)] == [0.0, 0.25, 0.5, 1.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("owing_since", "last_taken", "waiting", "stuck"),
    [
        (None, 0.0, 0, False),  # it owes nothing: the source is silent
        (99.0, 0.0, 0, False),  # not yet
        (50.0, 0.0, 0, True),
        (50.0, 95.0, 0, False),  # we were late in taking its results
        (50.0, 0.0, 3, False),  # it waits for us
    ],
)
def test_who_owes_an_answer_for_too_long_is_stuck(
    owing_since: float | None, last_taken: float, waiting: int, stuck: bool
) -> None:
    assert hangs(Timeouts(answer=30.0), 100.0, owing_since, last_taken, waiting) is stuck


def test_an_engine_goes_only_through_states_that_may_follow_each_other() -> None:
    starting, ready, restarting, broken, stopped = EngineState
    for state in EngineState:
        assert transition(state, by=state) is state
        reachable = {by for by in EngineState if by in FOLLOWS[state]}
        for by in EngineState:
            if by in reachable:
                assert transition(state, by=by) is by
            elif by is not state:
                with pytest.raises(ValueError, match=f"{state} cannot become {by}"):
                    transition(state, by=by)
    assert FOLLOWS[stopped] == frozenset()
    assert all(stopped in FOLLOWS[state] for state in EngineState if state is not stopped)
    assert broken not in FOLLOWS[ready] | FOLLOWS[starting], "first it is tried again"
    assert ready not in FOLLOWS[broken], "a broken engine is started again first"
    assert not any(starting in later for later in FOLLOWS.values())
    assert FOLLOWS[ready] == {restarting, stopped}


def why(**changes: object) -> str:
    values: dict = {"last_result": None, "last_frame": 99.9, "engine": EngineState.READY, "reason": "", "source": "cam"}
    return why_no_picture(100.0, **values | changes)


def test_the_last_picture_serves_for_a_while_then_people_are_told_why_there_is_none() -> None:
    assert why(last_result=99.0, engine=EngineState.RESTARTING) == ""
    assert "started again: it crashed" in why(last_result=90.0, engine=EngineState.RESTARTING, reason="it crashed")
    assert "broken: it crashed" in why(engine=EngineState.BROKEN, reason="it crashed")
    assert "starting" in why(engine=EngineState.STARTING)
    assert why(last_frame=None) == why(last_frame=90.0, last_result=90.1) == "No picture comes from cam"
    assert why(last_frame=None, source="") == "Waiting for a source"
    assert "busy" in why()


def test_a_slow_source_and_a_slow_engine_are_no_trouble() -> None:
    slides = {"frames_pause": 12.0, "last_frame": 93.0}
    assert why(**slides, last_result=93.1) == ""
    assert "started again" in why(**slides, last_result=93.1, engine=EngineState.RESTARTING)
    assert why(frames_pause=12.0, last_frame=87.0, last_result=87.1) == "No picture comes from cam"
    assert why(last_result=95.0, results_pause=12.0) == ""
    assert "busy" in why(last_result=95.0)


def test_patience_follows_the_longest_of_the_last_pauses() -> None:
    patience = Patience(2.0)
    for now in (0, 5, 10):
        patience.came(now)
    assert patience.seconds == 12.5
    for number in range(Patience.PAUSES + 1):
        patience.came(10 + number / 30)
    assert patience.seconds == 2.0
    assert Patience(2.0, 5.0).seconds == 12.5, "before anything came"


def test_the_end_of_a_process_is_told_in_one_line() -> None:
    assert ending(1, "out of memory on the device", "noise") == "out of memory on the device"
    assert "out of memory" in ending(-9, "", "", starved=True)
    assert ending(-9, "", "") == "it was killed"
    assert ending(-11, "", "half a line") == "it crashed with SIGSEGV"
    assert ending(1, "", "Traceback\n  File\nImportError: no libfoo\n") == "ImportError: no libfoo"
    assert ending(3, "", "") == "it exited with status 3"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(window=2.0)
    for number in range(100):
        rate.add(number / 50)
    assert rate.value(99 / 50) == pytest.approx(50, rel=0.02)
    assert rate.value(100.0) == 0.0


def test_percentiles_and_memory() -> None:
    samples = Samples()
    assert samples.summary() == {} and samples.recent() == 0.0
    for value in range(101):
        samples.add(value)
    assert samples.summary() == {"p50": 50.0, "p95": 95.0}
    assert samples.recent(11) == 95.0
    assert (peak_memory_mb() or 0) > 10
    assert peak_memory_mb(2**22 + 1) is None


def test_a_further_session_is_refused_with_the_reason_when_the_machine_cannot_hold_it() -> None:
    limits = Limits(most=4, least_fps=5.0, session_mb=300, spare_mb=200)
    assert refusal(limits, 0, 900.0, 10.0) == "", "the first is always tried"
    assert refusal(limits, 1, 0.0, None) == "", "nothing was measured yet"
    assert refusal(limits, 1, 99.0, 600.0) == ""
    assert "each of 2 sessions would get 4.0 a second" in refusal(limits, 1, 125.0, 600.0)
    assert "490 MB of memory are left" in refusal(limits, 1, 10.0, 490.0)
    assert "4 sessions are open" in refusal(limits, 4, 1.0, 9999.0)


@given(st.integers(1, 9), st.floats(1, 1000), st.floats(0, 5000))
def test_admission_never_gets_easier_with_more_load(count: int, frame_ms: float, free: float) -> None:
    if refusal(Limits(), count, frame_ms, free):
        assert refusal(Limits(), count + 1, frame_ms, free)
        assert refusal(Limits(), count, frame_ms * 2, free)
        assert refusal(Limits(), count, frame_ms, free / 2)
