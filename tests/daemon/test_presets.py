"""Presets on a disk that fails, with names that want out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.errors import RunError
from driftcam.daemon.session.presets import MOST, Presets
from driftcam.engines.api import ParameterError, Parameters

LOOK = Parameters(strength=0.4, seed=9, styles=(("weave", 1), ("dusk", 3)), width=512, height=256)


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    return Presets(tmp_path / "presets")


def test_a_preset_survives_a_restart_and_leaves_the_size_alone(presets: Presets, tmp_path: Path) -> None:
    presets.save("late night no", LOOK)
    again = Presets(tmp_path / "presets")
    assert again.names() == ["late night no"]
    values = again.load("late night no")
    assert not {"width", "height"} & set(values)
    assert Parameters().replace(**values) == LOOK.replace(width=384, height=384)


def test_a_picture_style_is_kept(presets: Presets) -> None:
    vector = tuple(i / 7 for i in range(100))
    presets.save("picture", LOOK.replace(style_vector=vector))
    assert tuple(presets.load("picture")["style_vector"]) == vector


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0b", "a\nb", "x" * 65, "a.", "a ", "~", None, 5]
)
def test_names_that_could_mean_something_else_are_refused(presets: Presets, tmp_path: Path, name: str) -> None:
    for action in (presets.load, presets.delete, lambda name: presets.save(name, LOOK)):
        with pytest.raises(ParameterError) as caught:
            action(name)
        assert caught.value.field == "preset"
    assert not list(tmp_path.rglob("*.json"))


@given(st.text(max_size=70))
def test_no_name_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "inside" / "presets"
    try:
        Presets(folder).save(name, LOOK)
    except (ParameterError, RunError):
        return
    assert (folder / f"{name}.json").resolve().parent == folder.resolve()
    Presets(folder).delete(name)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"[]", b"[" * 9000, b'{"strength": 7}', b'{"x": 1}', b"5"])
def test_a_damaged_file_is_named_and_the_others_still_work(presets: Presets, tmp_path: Path, damage: bytes) -> None:
    presets.save("good", LOOK)
    bad = tmp_path / "presets" / "bad.json"
    bad.write_bytes(damage)
    assert presets.names() == ["good"]
    (problem,) = presets.damaged()
    assert str(bad) in problem
    with pytest.raises(ParameterError, match="damaged"):
        presets.load("bad")
    presets.save("bad", LOOK)
    assert presets.names() == ["bad", "good"]


def test_an_unknown_name_lists_the_known_ones(presets: Presets) -> None:
    presets.save("good", LOOK)
    with pytest.raises(ParameterError, match="choose from: good"):
        presets.load("god")


def test_a_link_is_not_followed(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    target = tmp_path / "secret.json"
    target.write_text(json.dumps(LOOK.to_dict()))
    (tmp_path / "presets" / "link.json").symlink_to(target)
    with pytest.raises(ParameterError, match="link"):
        presets.load("link")
    with pytest.raises(ParameterError, match="link"):
        presets.save("link", Parameters())
    assert json.loads(target.read_text())["seed"] == 9


def test_a_disk_that_fails_is_told_and_the_old_preset_stays(presets: Presets, monkeypatch: pytest.MonkeyPatch) -> None:
    presets.save("look", LOOK)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        presets.save("look", LOOK.replace(seed=1))
    monkeypatch.undo()
    assert presets.load("look")["seed"] == 9
    assert presets.names() == ["look"]


def test_their_number_is_bounded(presets: Presets, tmp_path: Path) -> None:
    presets.save("first", LOOK)
    for number in range(MOST - 1):
        (tmp_path / "presets" / f"p{number}.json").touch()
    with pytest.raises(ParameterError, match=str(MOST)):
        presets.save("one more", LOOK)
    presets.save("first", LOOK)


def test_a_writer_killed_in_the_middle_leaves_a_whole_file(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from driftcam.daemon.session.presets import Presets
from driftcam.engines.api import Parameters
presets, number = Presets(Path({str(tmp_path)!r})), 0
while True:
    number += 1
    presets.save("look", Parameters(seed=number))
    print(number, flush=True)
"""
    root = Path(__file__).parents[2]
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root)
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(20)]
    writer.kill()
    told += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    assert Presets(tmp_path).load("look")["seed"] >= told[-1]
