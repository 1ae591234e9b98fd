"""From a network to its engine in the cache."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from driftcam.engines.backends.export import export_onnx
from driftcam.engines.backends.identity import code_of, graph_hash, weights_hash
from driftcam.engines.backends.network import NetworkSpec, Ranges
from driftcam.engines.backends.progress import Progress
from driftcam.engines.backends.tensorrt.build import BuildJob, build, profile_of
from driftcam.engines.backends.tensorrt.cache import EngineCache, EngineKey
from driftcam.engines.backends.tensorrt.library import Library, load


def library_name(library: Library | None = None) -> str:
    """Flavour and version of TensorRT, as in an engine's key."""
    library = library or load()
    return f"{library.flavour} {library.version}"


def key_of(
    spec: NetworkSpec,
    target: str,
    precision: str,
    *,
    ranges: Ranges | None = None,
    refit: bool = False,
    library: Library | None = None,
) -> EngineKey:
    """The engine of `spec`; with `refit` its weights keep their names and can be replaced while it runs."""
    exporter = code_of(export_onnx.__module__) + code_of("onnxscript")
    return EngineKey(
        network=spec.name,
        weights=weights_hash(spec.module),
        graph=hashlib.sha256(f"{graph_hash(spec)} {exporter}".encode()).hexdigest(),
        precision=precision,
        target=target,
        library=library_name(library),
        ranges=ranges or Ranges(),
        refit=refit,
    )


def prepare(
    spec: NetworkSpec,
    key: EngineKey,
    cache: EngineCache,
    *,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> bytes:
    """The engine of `key`, which is of `spec`, built where the cache has none.

    One whose weights can be replaced asks for a GPU already while it is built. Raises `ParameterError`, see `build` and
    `EngineCache.get`.
    """

    def make() -> bytes:
        with tempfile.TemporaryDirectory(prefix="driftcam-") as folder:
            path = Path(folder) / f"{spec.name}.onnx"
            onnx = export_onnx(spec, path, key.precision, key.ranges, keep_weights=key.refit)
            weights = tuple(spec.module.state_dict()) if key.refit else ()
            profile = profile_of(spec, key.ranges)
            return build(BuildJob(spec.name, onnx, key.target, key.precision, profile, weights), progress)

    return cache.get(key, make, notify)
