"""What is measured beside the work of others is not taken for what the machine can do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftcam.engines import host
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.live_size import LiveSize, measure
from driftcam.engines.other_work import CALM, OtherWork, busy_seconds, own_seconds


def counting(*values: float | None) -> Iterator:
    return iter(values).__next__  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("busy", "own", "share"),
    [
        ((10.0, 12.0), (3.0, 5.0), 0.0),  # all of it ours
        ((10.0, 12.0), (3.0, 4.0), 0.25),  # a second of the four that two processors have in two
        ((10.0, 14.0), (3.0, 3.0), 1.0),
        ((10.0, 11.9), (3.0, 5.0), 0.0),  # ticks are coarse
        ((None, 12.0), (3.0, 4.0), None),
        ((10.0, None), (3.0, 4.0), None),
    ],
)
def test_the_share_of_others_is_what_is_not_ours(busy: tuple, own: tuple, share: float | None) -> None:
    others = OtherWork(counting(*busy), counting(*own))
    assert others.share(2.0, processors=2) == share


@pytest.fixture
def burning() -> Iterator[None]:
    """Others keep every processor busy."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.skipif(busy_seconds() is None, reason="this system does not say how busy it is")
def test_others_that_burn_are_seen_and_ones_own_work_is_ones_own(burning: None) -> None:
    others, began, own = OtherWork(), time.monotonic(), own_seconds()
    while own_seconds() - own < 0.2:
        pass
    share = others.share(time.monotonic() - began)
    assert share is not None and CALM < share < 1.2


@pytest.mark.skipif(busy_seconds() is None, reason="this system does not say how busy it is")
def test_a_small_size_from_a_busy_moment_is_used_and_not_remembered(
    burning: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick enough, but only as small because others were at work; the load average does not know of it yet."""

    class Engine:
        def __init__(self, parameters: Parameters, **_: object) -> None:
            self._seconds = 0.01 if parameters.width < 300 else 0.1

        def step(self, frame: object) -> object:
            time.sleep(self._seconds)
            return frame

    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(host, "Engine", Engine)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    found = host.EngineHost().live_size(Parameters(), alone=True)
    assert (found.side, found.quick) == (256, True)
    assert not list(tmp_path.iterdir())


def test_a_size_from_a_calm_moment_lasts_and_one_that_is_too_slow_does_not() -> None:
    for others, seconds, lasts in ((0.05, 0.03, True), (None, 0.03, True), (0.3, 0.03, False), (0.05, 0.04, False)):
        assert LiveSize(256, {256: seconds}, others).lasts is lasts


def test_measuring_tells_what_others_did() -> None:
    class Still:
        def step(self, frame: object) -> object:
            return frame

    found = measure(lambda parameters: Still(), Parameters())  # type: ignore[arg-type, return-value]
    assert (found.others is None) == (busy_seconds() is None)
