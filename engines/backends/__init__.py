"""Ways to run a network. `open_backend` is the one door to them; torch on the CPU is the reference."""

from __future__ import annotations

import functools
import logging

from driftcam.engines.backends.base import Backend, Cost, Network
from driftcam.engines.backends.choice import BACKENDS, Choice, choose, gather

__all__ = ["BACKENDS", "Backend", "Cost", "Network", "explain", "open_backend"]

_log = logging.getLogger(__name__)


@functools.cache
def open_backend(wanted: str = "auto") -> Backend:
    """The backend of this name, for `auto` the fastest of this machine; says in one log line which and why.

    Raises:
        ParameterError: unknown, or not usable here; the message says what is missing.
    """
    backend = _open(_choice(wanted).backend)
    _log.info("networks run on %s", explain(wanted, backend))
    return backend


def explain(wanted: str, backend: Backend) -> str:
    """One line: what runs the networks and why, for a backend that was opened as `wanted`."""
    return f"{backend.describe()}: {_choice(wanted).reason}"


@functools.cache
def _choice(wanted: str) -> Choice:
    return choose(wanted, gather)


def _open(name: str) -> Backend:
    if name == "openvino":
        from driftcam.engines.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend()
    if name == "tensorrt":
        from driftcam.engines.backends.tensorrt.backend import TensorRtBackend

        return TensorRtBackend()
    from driftcam.engines.backends.torch_backend import TorchBackend

    return TorchBackend("cuda" if name == "torch-cuda" else "cpu")
