"""Ways to run a network. `compile_network` is the one interface; torch is the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from engines.api.errors import ParameterError

BACKENDS = ("auto", "openvino", "torch")

Network = Callable[..., Tensor]


def compile_network(module: nn.Module, examples: Sequence[Tensor], backend: str = "auto", *, key: str = "") -> Network:
    """A callable that runs `module` on tensors of exactly the examples' shapes and types.

    The returned tensor is a view of a buffer that the next call overwrites.

    Args:
        module: a network in evaluation mode.
        examples: one tensor per positional input; shapes and types are fixed by them.
        backend: one of `BACKENDS`; `auto` takes OpenVINO.
        key: identifies the weights; equal keys share the converted graph on disk ("" keeps none).

    Raises:
        ParameterError: unknown backend.
    """
    if backend == "torch":
        from engines.backends.torch_backend import TorchNetwork

        return TorchNetwork(module)
    if backend in ("auto", "openvino"):
        from engines.backends.openvino_backend import OpenVinoNetwork

        return OpenVinoNetwork(module, examples, key)
    raise ParameterError("backend", backend, f"choose from: {', '.join(BACKENDS)}")


def describe(backend: str) -> str:
    """One line that says what runs the networks and in which precision."""
    if backend == "torch":
        return "torch float32 (cpu)"
    from engines.backends.openvino_backend import precision_name

    return f"openvino {precision_name()} (cpu)"
