"""What systemd is told, and when it is told nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.service.pulse import Progress
from driftcam.daemon.service.systemd import Systemd


@pytest.fixture
def heard(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(1)
        yield listening


def test_systemd_hears_ready_status_and_progress(heard: socket.socket, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(os.getpid())}
    systemd = Systemd(environ)
    assert systemd.watchdog_s == 6
    assert not environ, "a child must not speak for us"
    systemd.ready()
    systemd.status("two\nlines")
    systemd.status("two\nlines")
    systemd.alive()
    systemd.reloading()
    told = [heard.recv(200).decode() for _ in range(4)]
    assert told[:3] == ["READY=1", "STATUS=two lines", "WATCHDOG=1"]
    assert told[3].startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_the_watchdog_of_another_process_is_not_ours(heard: socket.socket, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"}
    systemd = Systemd(environ)
    assert systemd.watchdog_s is None
    systemd.alive()
    systemd.stopping()
    assert heard.recv(200) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "/none/notify", "@driftcam-nobody-listens"])
def test_without_systemd_nothing_happens(address: str) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": address} if address else {})
    systemd.ready()
    systemd.alive()
    systemd.status("x")


def test_only_results_that_wait_in_vain_are_no_progress() -> None:
    progress = Progress()
    assert progress.made(0, 0), "idle: no frames, or no engine"
    assert progress.made(0, 0)
    assert progress.made(5, 3), "frames move"
    assert not progress.made(5, 3), "three results wait and none was delivered"
    assert not progress.made(5, 1)
    assert progress.made(6, 1)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30))
def test_a_session_that_delivers_something_each_time_is_never_stuck(waiting: list[int]) -> None:
    progress = Progress()
    assert all(progress.made(number, length) for number, length in enumerate(waiting))
