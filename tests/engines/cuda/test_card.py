"""On a real card: what `driftcam doctor --full` runs there."""

from __future__ import annotations

import pytest
import torch

from driftcam.engines.backends import choice, open_backend
from driftcam.engines.backends.nvidia import ask_driver
from driftcam.engines.backends.torch_backend import TorchBackend
from driftcam.engines.doctor.selftest import try_network
from driftcam.engines.models.embedded.model import embedded_specs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(ask_driver().problem), reason=f"needs an NVIDIA GPU: {ask_driver().problem}"),
]


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    if problem := choice.tensorrt_problem():
        pytest.skip(problem)
    from driftcam.engines.backends.tensorrt.backend import TensorRtBackend

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield TensorRtBackend()


@pytest.mark.parametrize("index", [0, 1, 2], ids=["encoder", "velocity", "decoder"])
def test_tensorrt_gives_what_torch_gives(backend, index: int) -> None:
    finding = try_network(backend, TorchBackend(), embedded_specs()[index])
    assert finding.state == "good", finding.detail


@pytest.mark.parametrize("index", [0, 1, 2], ids=["encoder", "velocity", "decoder"])
def test_torch_on_the_card_gives_what_it_gives_on_the_processor(index: int) -> None:
    if problem := choice.torch_cuda_problem():
        pytest.skip(problem)
    finding = try_network(open_backend("torch-cuda"), TorchBackend(), embedded_specs()[index])
    assert finding.state == "good", finding.detail


@pytest.fixture(scope="module")
def tried(backend):
    from driftcam.engines.doctor.card import try_card

    return {finding.what.split(": ")[1]: finding for finding in try_card(backend)}


@pytest.mark.parametrize("check", ["frames", "sizes", "memory", "weights"])
def test_the_card(tried, check: str) -> None:
    assert tried[check].state == "good", tried[check].detail


def test_tensors_of_the_card_are_read_where_they_lie(backend) -> None:
    if problem := choice.torch_cuda_problem():
        pytest.skip(problem)
    spec = embedded_specs()[1]
    sizes = {"batch": 1, "height": 4, "width": 4}
    network = backend.compile(spec, spec.shapes(**sizes))
    inputs = spec.examples(torch.float32, **sizes)
    result = network(*(x.cuda() for x in inputs))
    assert result.is_cuda and (result.cpu() - network(*inputs)).abs().max() < 1e-3
