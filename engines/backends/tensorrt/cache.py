"""Engines on disk, under a key made of everything that they depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import Ranges

FORMAT = 4
LOCK_PATIENCE = 1800.0  # s; a large UNet takes minutes on a small machine


@dataclass(frozen=True)
class EngineKey:
    """What makes two engines different.

    Attributes:
        network: name of the network.
        weights: hash of the weights.
        graph: hash of what the exported graph comes from.
        precision, target: as given to `engines.backends.tensorrt.build.build`.
        library: flavour and version of TensorRT.
        ranges: of the shapes that it takes.
        refit: whether its weights can be replaced.
    """

    network: str
    weights: str
    graph: str
    precision: str
    target: str
    library: str
    ranges: Ranges = Ranges()  # noqa: RUF009 (it cannot be changed)
    refit: bool = False

    @property
    def name(self) -> str:
        """File name without ending: readable, and unique by the hash of all fields."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return f"{self.network}-{self.target}-{self.precision}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EngineKey:
        """The inverse of `dataclasses.asdict`, from JSON. Raises `TypeError`, `KeyError` or `ParameterError`."""
        ranges = Ranges(**{name: tuple(span) for name, span in values["ranges"].items()})
        return cls(**{**values, "ranges": ranges})

    def serves(self, wanted: EngineKey, sizes: Mapping[str, int]) -> bool:
        """Whether this engine does what `wanted` does, at `sizes` (see `NetworkSpec.sizes`)."""
        alike = dataclasses.replace(self, ranges=wanted.ranges, refit=wanted.refit) == wanted
        return alike and self.refit >= wanted.refit and self.ranges.hold(sizes)


@dataclass(frozen=True)
class Entry:
    """An engine in the cache.

    Attributes:
        path: of the engine.
        key: what it was made from; None where its description is missing or damaged.
        size: bytes.
        built: seconds since 1970.
        problem: why it cannot be used, or empty.
    """

    path: Path
    key: EngineKey | None
    size: int
    built: float
    problem: str


class EngineCache:
    """Engines in one folder. Each is `NAME.engine` with its description `NAME.json`; both are written beside and
    renamed, the description first, so that an engine that is there is whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: EngineKey) -> bytes | None:
        """The engine, or None where there is none that can be used."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        return None if self._problem(path, data) else data

    def get(
        self, key: EngineKey, make: Callable[[], bytes], notify: Callable[[str], None] = lambda line: None
    ) -> bytes:
        """The engine, made by `make` where it is missing or damaged.

        Of two processes that want the same engine one builds and the other waits for it. Raises `ParameterError` when
        the folder cannot be written or the other builder does not come to an end.
        """
        if (data := self.load(key)) is not None:
            return data
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock"), timeout=LOCK_PATIENCE):
                if (data := self.load(key)) is not None:
                    return data
                if path.exists():
                    notify(f"{path.name} cannot be used ({self._problem(path, path.read_bytes())}); building it again")
                data = make()
                self._store(path, key, data)
                return data
        except Timeout:
            raise ParameterError(
                "engine",
                path.name,
                f"another process has built it for {LOCK_PATIENCE / 60:.0f} minutes; end it",
            ) from None
        except OSError as error:
            raise ParameterError("engine", str(path), f"the cache cannot be written ({error.strerror})") from None

    def smallest(self, wanted: EngineKey, sizes: Mapping[str, int]) -> EngineKey:
        """Of the engines that do what `wanted` does at `sizes` the one of the smallest ranges; `wanted` where none is.

        What was built for few sizes is faster and takes less memory. Nothing but the descriptions is read.
        """
        keys = (self._key(path.with_suffix(".engine")) for path in self.folder.glob(f"{wanted.network}-*.json"))
        fitting = [key for key in keys if key is not None and key.serves(wanted, sizes) and self._path(key).exists()]
        return min(fitting, key=lambda key: (key.ranges.reach, key.refit), default=wanted)

    def entries(self) -> Iterator[Entry]:
        """All engines, the newest first, each verified."""
        paths = sorted(self.folder.glob("*.engine"), key=lambda p: p.stat().st_mtime, reverse=True)
        for path in paths:
            data = path.read_bytes()
            yield Entry(path, self._key(path), len(data), path.stat().st_mtime, self._problem(path, data))

    def prune(self, keep_library: str, older_than: float | None = None) -> list[Path]:
        """Remove damaged engines, those of another library than `keep_library` and those built before `older_than`."""
        removed = []
        for entry in list(self.entries()):
            other = entry.key is not None and entry.key.library != keep_library
            old = older_than is not None and entry.built < older_than
            if entry.problem or other or old:
                for suffix in (".engine", ".json", ".lock", ".compiled"):
                    entry.path.with_suffix(suffix).unlink(missing_ok=True)
                removed.append(entry.path)
        return removed

    def _path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.name}.engine"

    def _description(self, path: Path) -> dict | None:
        try:
            description = json.loads(path.with_suffix(".json").read_text())
            return description if isinstance(description, dict) else None
        except (OSError, ValueError):
            return None

    def _key(self, path: Path) -> EngineKey | None:
        """As its description says; None where that cannot be read."""
        try:
            return EngineKey.from_dict((self._description(path) or {})["key"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def _problem(self, path: Path, data: bytes) -> str:
        """Why the bytes at `path` are not the engine they should be; empty when they are."""
        description = self._description(path)
        if description is None:
            return "its description is missing or damaged"
        if description.get("format") != FORMAT:
            return "it was written by another version of driftcam"
        if (key := self._key(path)) is None or key.name != path.stem:
            return "its description belongs to another engine"
        if hashlib.sha256(data).hexdigest() != description.get("sha256"):
            return "its checksum does not match"
        return ""

    def _store(self, path: Path, key: EngineKey, data: bytes) -> None:
        description = {
            "format": FORMAT,
            "key": dataclasses.asdict(key),
            "sha256": hashlib.sha256(data).hexdigest(),
            "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        for target, content in ((path.with_suffix(".json"), json.dumps(description, indent=1).encode()), (path, data)):
            temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
            temporary.write_bytes(content)
            temporary.replace(target)
