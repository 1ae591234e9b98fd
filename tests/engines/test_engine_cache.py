"""Engines on disk: found again, never half written, built once, refused when they are not what they should be."""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from pathlib import Path

import pytest

pytest.importorskip("filelock")

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import Ranges
from driftcam.engines.backends.tensorrt.cache import EngineCache, EngineKey

KEY = EngineKey("decoder", "b" * 64, "a" * 64, "fp16", "sm89", "tensorrt_rtx 1.7.1")
OTHERS = {"ranges": Ranges(batch=(1, 2, 3)), "refit": True}


def test_an_engine_is_built_once_and_found_again(tmp_path: Path) -> None:
    built = []

    def make() -> bytes:
        built.append(1)
        return b"engine"

    assert EngineCache(tmp_path).load(KEY) is None
    assert [EngineCache(tmp_path).get(KEY, make) for _ in range(3)] == [b"engine"] * 3
    assert len(built) == 1
    (entry,) = EngineCache(tmp_path).entries()
    assert entry.key == KEY and entry.size == 6 and not entry.problem


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(EngineKey)])
def test_every_field_of_the_key_counts(field: str, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.get(KEY, lambda: b"one")
    other = dataclasses.replace(KEY, **{field: OTHERS.get(field, "other")})
    assert cache.load(other) is None
    assert cache.get(other, lambda: b"two") == b"two" and cache.load(KEY) == b"one"


@pytest.mark.parametrize("damage", ["flipped", "cut", "description", "another's"])
def test_damage_is_seen_and_repaired_with_a_message(damage: str, tmp_path: Path) -> None:
    cache, lines = EngineCache(tmp_path), []
    cache.get(KEY, lambda: b"engine")
    (path,) = tmp_path.glob("*.engine")
    if damage == "flipped":
        path.write_bytes(b"enginf")
    elif damage == "cut":
        path.write_bytes(b"eng")
    elif damage == "description":
        path.with_suffix(".json").write_text("{")
    else:
        cache.get(dataclasses.replace(KEY, target="sm86"), lambda: b"other")
        (other,) = set(tmp_path.glob("*.json")) - {path.with_suffix(".json")}
        path.with_suffix(".json").write_bytes(other.read_bytes())
    assert cache.load(KEY) is None
    assert any(entry.problem for entry in cache.entries())
    assert cache.get(KEY, lambda: b"again", lines.append) == b"again"
    assert len(lines) == 1 and "building it again" in lines[0]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise ParameterError("network", "decoder", "no")

    with pytest.raises(ParameterError):
        EngineCache(tmp_path).get(KEY, fail)
    assert not list(tmp_path.glob("*.engine")) and not list(tmp_path.glob("*.tmp"))


def test_pruning_keeps_what_fits_this_library(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    for key in (KEY, dataclasses.replace(KEY, library="tensorrt_rtx 1.6"), dataclasses.replace(KEY, target="sm86")):
        cache.get(key, lambda: b"engine")
    next(tmp_path.glob("*sm86*.engine")).write_bytes(b"damaged")
    removed = cache.prune(KEY.library)
    assert len(removed) == 2 and [entry.key for entry in cache.entries()] == [KEY]
    assert cache.prune(KEY.library, older_than=time.time() + 1) and not list(cache.entries())


def _build_slowly(folder: Path, log: Path) -> None:
    def make() -> bytes:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(1)
        return b"engine"

    assert EngineCache(folder).get(KEY, make) == b"engine"


def test_of_two_processes_one_builds(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    processes = [context.Process(target=_build_slowly, args=(tmp_path / "cache", log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0]
    assert log.read_text() == "built\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="cannot be written"):
        EngineCache(tmp_path / "file" / "cache").get(KEY, lambda: b"engine")


def only(batch: tuple[int, int] = (1, 16), side: tuple[int, int] = (4, 16), **changes: object) -> EngineKey:
    """Least and most of rows and of sides, in units of 64 px."""
    spans = {"batch": batch, "height": side, "width": side}
    ranges = Ranges(**{name: (low, low, high) for name, (low, high) in spans.items()})
    return dataclasses.replace(KEY, ranges=ranges, **changes)


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ({"batch": 1, "height": 8, "width": 8}, only((1, 1), (8, 8))),
        ({"batch": 1, "height": 8, "width": 4}, only((1, 4), (4, 8))),
        ({"batch": 4, "height": 8, "width": 8}, only((1, 4), (4, 8))),
        ({"batch": 8, "height": 8, "width": 8}, only()),
        ({"batch": 1, "height": 12, "width": 8}, only()),
    ],
)
def test_the_smallest_engine_that_holds_a_size_is_found(sizes: dict, found: EngineKey, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    assert cache.smallest(KEY, sizes) == KEY, "which is built where nothing is there"
    for key in (only(), only((1, 4), (4, 8)), only((1, 1), (8, 8)), only((1, 4), (4, 8), refit=True)):
        cache.get(key, lambda: b"engine")
    for other in ("weights", "graph", "precision", "target", "library"):
        cache.get(only((1, 1), (8, 8), **{other: "other"}), lambda: b"engine")
    assert cache.smallest(KEY, sizes) == found


def test_an_engine_whose_weights_are_to_be_replaced_was_built_for_it(tmp_path: Path) -> None:
    cache, sizes = EngineCache(tmp_path), {"batch": 1, "height": 4, "width": 4}
    cache.get(only((1, 1), (4, 4)), lambda: b"engine")
    wanted = dataclasses.replace(KEY, refit=True)
    assert cache.smallest(wanted, sizes) == wanted
    cache.get(only((1, 2), (4, 4), refit=True), lambda: b"engine")
    assert cache.smallest(wanted, sizes) == only((1, 2), (4, 4), refit=True)


def test_engines_of_an_older_driftcam_are_named_and_pruned(tmp_path: Path) -> None:
    (tmp_path / "decoder-sm89-fp16-0.engine").write_bytes(b"engine")
    (tmp_path / "decoder-sm89-fp16-0.json").write_text('{"format": 2, "key": {"profile": "Ranges() refit=False"}}')
    cache = EngineCache(tmp_path)
    (entry,) = cache.entries()
    assert "another version of driftcam" in entry.problem and entry.key is None
    assert cache.smallest(KEY, {"batch": 1, "height": 4, "width": 4}) == KEY
    assert cache.prune(KEY.library) == [entry.path] and not list(tmp_path.iterdir())
