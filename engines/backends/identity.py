"""What a network is, in a number of fixed length: names what is kept of it on disk, whatever backend made it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import sys
from pathlib import Path

import torch
from torch import nn

from driftcam.engines.backends.network import NetworkSpec


def identity(spec: NetworkSpec) -> str:
    """SHA-256 over weights and graph."""
    return hashlib.sha256(f"{weights_hash(spec.module)} {graph_hash(spec)}".encode()).hexdigest()


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over names, types and values of a network's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def graph_hash(spec: NetworkSpec) -> str:
    """SHA-256 over all that the graph comes from, which costs no export: the inputs, the tree of modules with their
    settings, and the code of every class in it.
    """
    modules = list(spec.module.modules())
    parts = [repr(dict(spec.inputs)), spec.output, spec.frame, repr(spec.module)]
    parts += [repr(module.config) for module in modules if hasattr(module, "config")]  # diffusers' settings
    parts += sorted({code_of(type(module).__module__) for module in modules})
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def code_of(module: str) -> str:
    """Version of the package that a Python module belongs to, or its source where that is ours or no package."""
    package = module.split(".")[0]
    if package != __name__.split(".")[0]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{package} {importlib.metadata.version(package)}"
    path = getattr(sys.modules[module], "__file__", None)  # none in an interactive session
    return Path(path).read_text() if path else module
