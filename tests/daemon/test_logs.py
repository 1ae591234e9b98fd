"""What the daemon writes, to a journal and to people."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftcam.daemon.service.logs import LOGGER, RECENT, JournalFormat, Logs, Recent, to_journal

log = logging.getLogger(f"{LOGGER}.test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    logger = logging.getLogger(LOGGER)
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def test_the_journal_gets_priorities_and_nobody_can_fake_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert to_journal(stream)
        Logs("debug", stream)
        log.debug("a")
        log.info("b")
        log.warning("from outside: x\n<0>emergency")
        log.error("d")
        stream.seek(0)
        assert stream.read().splitlines() == ["<7>a", "<6>b", "<4>from outside: x", "<4><0>emergency", "<3>d"]


def test_a_terminal_gets_time_and_level() -> None:
    stream = io.StringIO()
    Logs("info", stream)
    log.debug("hidden")
    log.info("shown")
    assert stream.getvalue().endswith("Z INFO shown\n")
    assert "hidden" not in stream.getvalue()


def test_a_secret_is_written_nowhere() -> None:
    stream = io.StringIO()
    logs = Logs("info", stream)
    logs.hide("s3cret-token")
    log.info("asked with %s", "Bearer s3cret-token")
    try:
        raise ValueError("s3cret-token")
    except ValueError:
        log.exception("failed with s3cret-token")
    assert "s3cret" not in stream.getvalue()
    assert "s3cret" not in str(logs.recent.lines(10))
    assert "asked with Bearer [secret]" in stream.getvalue()


def test_the_newest_lines_are_kept_and_not_more() -> None:
    recent = Recent()
    for number in range(RECENT + 50):
        recent.emit(log.makeRecord(LOGGER, logging.INFO, "", 0, f"line {number}", (), None))
    lines = recent.lines(2 * RECENT)
    assert len(lines) == RECENT
    assert lines[-1]["text"] == f"line {RECENT + 49}"


def test_the_level_can_be_changed_while_it_runs() -> None:
    stream = io.StringIO()
    logs = Logs("error", stream)
    log.info("no")
    logs.set_level("debug")
    log.debug("yes")
    assert "no" not in stream.getvalue()
    assert "yes" in stream.getvalue()


def test_every_line_of_a_traceback_has_the_priority() -> None:
    try:
        raise ValueError("x")
    except ValueError as error:
        record = log.makeRecord(LOGGER, logging.ERROR, "", 0, "bad", (), (type(error), error, error.__traceback__))
    assert all(line.startswith("<3>") for line in JournalFormat("%(message)s").format(record).splitlines())
