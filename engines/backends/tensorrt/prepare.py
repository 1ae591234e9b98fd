"""From a network to its engine in the cache."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from driftcam.engines.backends.export import export_onnx
from driftcam.engines.backends.network import NetworkSpec, Ranges
from driftcam.engines.backends.tensorrt.build import BuildJob, Progress, build, profile_of
from driftcam.engines.backends.tensorrt.cache import EngineCache, EngineKey
from driftcam.engines.backends.tensorrt.library import load


def cache_folder() -> Path:
    """Where engines are kept (`$XDG_CACHE_HOME/driftcam/engines`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftcam" / "engines"


def library_name() -> str:
    """Flavour and version of TensorRT, as in an engine's key."""
    library = load()
    return f"{library.flavour} {library.version}"


def prepare(
    spec: NetworkSpec,
    target: str,
    precision: str,
    cache: EngineCache,
    *,
    ranges: Ranges | None = None,
    refit: bool = False,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> bytes:
    """The engine of `spec`, built where the cache has none.

    With `refit` the weights keep their names and can be replaced in the running engine, which asks for a GPU already
    while it is built. Raises `ParameterError`, see `build` and `EngineCache.get`.
    """
    ranges = ranges or Ranges()
    key = EngineKey(
        network=spec.name,
        weights=weights_hash(spec.module),
        graph=graph_hash(spec),
        profile=f"{ranges} refit={refit}",
        precision=precision,
        target=target,
        library=library_name(),
    )

    def make() -> bytes:
        with tempfile.TemporaryDirectory(prefix="driftcam-") as folder:
            onnx = export_onnx(spec, Path(folder) / f"{spec.name}.onnx", precision, ranges, keep_weights=refit)
            weights = tuple(spec.module.state_dict()) if refit else ()
            return build(BuildJob(spec.name, onnx, target, precision, profile_of(spec, ranges), weights), progress)

    return cache.get(key, make, notify)


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over names, types and values of a network's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def graph_hash(spec: NetworkSpec) -> str:
    """SHA-256 over all that the exported graph comes from, which costs no export: the inputs, the tree of modules with
    their settings, the code of every class in it, and the versions of what exports it.
    """
    modules = list(spec.module.modules())
    parts = [repr(dict(spec.inputs)), spec.output, repr(spec.module)]
    parts += [repr(module.config) for module in modules if hasattr(module, "config")]  # diffusers' settings
    parts += sorted({_code(type(module).__module__) for module in modules} | {_code(export_onnx.__module__)})
    parts += [_code("onnxscript")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def _code(module: str) -> str:
    """Version of the package that a Python module belongs to, or its source where that is ours or no package."""
    package = module.split(".")[0]
    if package != __name__.split(".")[0]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{package} {importlib.metadata.version(package)}"
    path = getattr(sys.modules[module], "__file__", None)  # none in an interactive session
    return Path(path).read_text() if path else module
