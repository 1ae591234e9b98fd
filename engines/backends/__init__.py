"""Ways to run a network. `open_backend` is the one door to them; torch on the CPU is the reference."""

from __future__ import annotations

import functools
import logging

from driftcam.engines.backends.base import Backend, Cost, Network
from driftcam.engines.backends.choice import Choice, choose, gather

__all__ = ["Backend", "Cost", "Network", "explain", "open_backend"]

_log = logging.getLogger(__name__)


@functools.cache
def open_backend(wanted: str = "auto", device: int = 0, precision: str = "auto") -> Backend:
    """The backend of this name, for `auto` the fastest of this machine; says in one log line which and why.

    Arguments as in `engines.api.engine_options.EngineOptions`. `precision` is what `compile` then takes for `auto`.

    Raises:
        ParameterError: unknown, or not usable here; the message says what is missing.
    """
    backend = _open(_choice(wanted, device).backend, device, precision)
    _log.info("networks run on %s", explain(backend, wanted, device))
    return backend


def explain(backend: Backend, wanted: str = "auto", device: int = 0) -> str:
    """One line: what runs the networks and why, for a backend that was opened as `wanted`."""
    return f"{backend.describe()}: {_choice(wanted, device).reason}"


@functools.cache
def _choice(wanted: str, device: int) -> Choice:
    return choose(wanted, lambda: gather(device), device)


def _open(name: str, device: int, precision: str) -> Backend:
    if name == "openvino":
        from driftcam.engines.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(precision)
    if name == "tensorrt":
        from driftcam.engines.backends.tensorrt.backend import TensorRtBackend

        return TensorRtBackend(device=device, precision=precision)
    from driftcam.engines.backends.torch_backend import TorchBackend

    return TorchBackend(f"cuda:{device}" if name == "torch-cuda" else "cpu", precision)
