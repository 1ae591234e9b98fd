"""Every backend of this machine, tried: built, run on random inputs, compared with torch in single precision, timed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from driftcam.engines.api.engine_options import BACKENDS
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.findings import Finding
from driftcam.engines.backends import Backend, Network, open_backend
from driftcam.engines.backends.network import NetworkSpec
from driftcam.engines.backends.torch_backend import TorchBackend
from driftcam.engines.doctor.tolerance import TOLERANCE
from driftcam.engines.models.embedded.model import embedded_specs

SIZES = {"batch": 1, "height": 4, "width": 4}  # in 64 px
ROUNDS, WARM = 20, 3


def try_backends() -> list[Finding]:
    """One finding for each backend and network; those that cannot run here are absent."""
    reference = TorchBackend()
    findings = []
    for name in BACKENDS:
        if name == "auto":
            continue
        try:
            backend = open_backend(name)
        except ParameterError as error:
            findings.append(Finding(f"try {name}", "absent", error.advice))
            continue
        findings += [try_network(backend, reference, spec) for spec in embedded_specs()]
        if name == "tensorrt":
            findings += _try_card(backend)
    return findings


def _try_card(backend: Backend) -> list[Finding]:
    from driftcam.engines.backends.tensorrt.backend import TensorRtBackend
    from driftcam.engines.doctor.card import try_card

    assert isinstance(backend, TensorRtBackend)
    return try_card(backend)


def try_network(backend: Backend, reference: Backend, spec: NetworkSpec) -> Finding:
    """Whether `backend` gives what `reference` gives, and how fast."""
    what, shapes = f"try {backend.name} {spec.name}", spec.shapes(**SIZES)
    inputs = random_inputs(spec, SIZES)
    try:
        network = backend.compile(spec, shapes)
    except ParameterError as error:
        return Finding(what, "bad", str(error), error.advice)
    exact = reference.compile(spec, shapes)(*inputs).float()
    difference = float((network(*inputs).float() - exact).std() / exact.std())
    cost = network.cost
    detail = (
        f"{milliseconds(network, inputs):.2f} ms in {cost.precision}, differs by {difference:.2%}, "
        f"{cost.memory / 1e6:.0f} MB, ready in {cost.build_s:.1f} s"
    )
    if not difference <= TOLERANCE[cost.precision]:
        return Finding(what, "bad", detail, "the results are wrong; choose another backend and report it")
    return Finding(what, "good", detail)


def random_inputs(spec: NetworkSpec, sizes: Mapping[str, int], seed: int = 0) -> tuple[Tensor, ...]:
    """As the backends' callables take them."""
    inputs = spec.examples(torch.float32, seed, **sizes)
    if spec.frame == "in":
        return ((inputs[0] * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(),)
    return inputs


def milliseconds(network: Network, inputs: Sequence[Tensor]) -> float:
    """Median of one call, the copies included."""
    times = []
    for _ in range(WARM + ROUNDS):
        started = time.perf_counter()
        network(*inputs)
        times.append(time.perf_counter() - started)
    return sorted(times[WARM:])[ROUNDS // 2] * 1e3
