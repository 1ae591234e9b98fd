"""A short run of what `make chaos` does for twenty minutes, with the stand-in engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.chaos.faults import FAULTS
from scripts.chaos.live import fuzz
from scripts.chaos.run import chaos, growth
from scripts.chaos.victim import Load
from tests.daemon import standin

pytestmark = pytest.mark.serial


def test_the_daemon_outlives_every_fault(tmp_path: Path) -> None:
    # On a busy machine a start may take long, and speed is not asserted here: `make chaos` does that.
    report = chaos(tmp_path, seconds=5, seed=7, engine=standin.NAME, recovery=60, calm=2)
    assert report.problems == []
    assert set(report.faults) | set(report.skipped) == {fault.__name__ for fault in FAULTS}
    assert report.changes > 20
    assert 0 < report.refused < report.changes
    assert report.recordings > 0


def test_live_sources_come_back_after_every_fault(tmp_path: Path) -> None:
    report = fuzz(tmp_path, seconds=1, seed=3, faults=4, within=10)
    assert report.problems == []
    assert sum(map(len, report.returns_s.values())) == 5


def test_growth_is_noticed() -> None:
    before = Load(descriptors=40, threads=20, memory_mb=300)
    assert growth(before, Load(45, 24, 350)) == []
    problems = growth(before, Load(60, 40, 500))
    assert [problem.split()[0] for problem in problems] == ["descriptors", "threads", "memory"]
