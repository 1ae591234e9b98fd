"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from driftcam.daemon.files import write_whole


def test_a_file_is_replaced_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "look.json"
    path.write_bytes(b"an older one")
    write_whole(path, b"new", 0o640)
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_is_not_to_be_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write_whole(path, b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(path, b"second", replace=False)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "link", b"third", replace=False)
    assert path.read_bytes() == b"first" and sorted(each.name for each in tmp_path.iterdir()) == ["link", "token"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_write_that_fails_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    path = tmp_path / "look.json"
    path.write_bytes(b"an older one")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new", replace=replace)
    assert path.read_bytes() == b"an older one"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
