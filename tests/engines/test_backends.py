"""Which backend is taken and why, and what every backend promises."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from driftcam.engines import backends
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends import Backend, choice, explain, open_backend
from driftcam.engines.backends.choice import Facts, choose
from driftcam.engines.backends.nvidia import Card, DriverFacts, ask_driver, problem_of
from driftcam.engines.backends.openvino_backend import OpenVinoBackend
from driftcam.engines.backends.openvino_forms import for_openvino
from driftcam.engines.backends.torch_backend import TorchBackend
from driftcam.engines.models.embedded.model import embedded_specs


def forget() -> None:
    """So that the next one asks the machine again."""
    backends.open_backend.cache_clear()
    backends._choice.cache_clear()


RTX = DriverFacts((13, 0), (Card("RTX 4080", (8, 9), 16 << 30),), "")
NONE = DriverFacts((0, 0), (), "no NVIDIA driver is installed")


@pytest.mark.parametrize(
    ("facts", "backend", "reason"),
    [
        (Facts(RTX, "", ""), "tensorrt", "RTX 4080 and TensorRT are usable"),
        (Facts(RTX, "not installed", ""), "torch-cuda", "TensorRT is not (not installed)"),
        (Facts(RTX, "not installed", "built without CUDA"), "openvino", "not installed; built without CUDA"),
        (Facts(NONE, NONE.problem, NONE.problem), "openvino", "no NVIDIA driver is installed"),
    ],
)
def test_auto_takes_the_fastest_that_is_usable_and_says_why(facts: Facts, backend: str, reason: str) -> None:
    made = choose("auto", lambda: facts)
    assert made.backend == backend and reason in made.reason


def test_what_is_asked_for_by_name_is_taken_or_refused_with_the_reason() -> None:
    facts = Facts(NONE, NONE.problem, NONE.problem)
    for name in ("openvino", "torch"):
        assert choose(name, lambda: facts).backend == name
    for name in ("tensorrt", "torch-cuda"):
        with pytest.raises(ParameterError, match="no NVIDIA driver is installed; auto"):
            choose(name, lambda: facts)
    assert choose("tensorrt", lambda: Facts(RTX, "", "")).backend == "tensorrt"
    with pytest.raises(ParameterError, match="tensorrt, torch-cuda, openvino, torch"):
        choose("directml", lambda: facts)


@pytest.mark.parametrize(
    ("cuda", "cards", "problem"),
    [
        ((13, 0), (), "no NVIDIA GPU"),
        ((12, 4), RTX.cards, "update it to 580"),
        ((13, 0), (Card("GTX 1080", (6, 1), 8 << 30),), "generation sm61"),
        ((13, 2), (Card("GTX 1080", (6, 1), 8 << 30), *RTX.cards), ""),
    ],
)
def test_a_card_that_cannot_be_used_is_named(cuda: tuple, cards: tuple, problem: str) -> None:
    said = problem_of(cuda, cards)
    assert problem in said and bool(said) == bool(problem)


class Libcuda:
    """The few calls of NVIDIA's driver library that are made before any framework is loaded."""

    def __init__(self, status: int = 0, version: int = 13010, cards: tuple[Card, ...] = ()) -> None:
        self._status, self._version, self._cards = status, version, cards

    def cuInit(self, flags: int) -> int:
        return self._status

    def cuDriverGetVersion(self, version) -> int:
        version._obj.value = self._version
        return 0

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = len(self._cards)
        return 0

    def cuDeviceGet(self, device, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, size: int, device) -> int:
        name.value = self._cards[device.value].name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory, device) -> int:
        memory._obj.value = self._cards[device.value].memory
        return 0

    def cuDeviceGetAttribute(self, value, attribute: int, device) -> int:
        value._obj.value = self._cards[device.value].compute[{75: 0, 76: 1}[attribute]]
        return 0


def test_the_driver_is_asked_for_its_cards() -> None:
    cards = (Card("RTX 4080", (8, 9), 16 << 30), Card("RTX 5090", (12, 0), 32 << 30))
    driver = ask_driver(Libcuda(cards=cards))
    assert driver == DriverFacts((13, 1), cards, "") and [card.target for card in driver.cards] == ["sm89", "sm120"]
    assert ask_driver(Libcuda(status=100)) == DriverFacts((13, 1), (), "no NVIDIA GPU was found")
    assert "error 803" in ask_driver(Libcuda(status=803)).problem
    assert "update it to 580" in ask_driver(Libcuda(version=12040, cards=cards)).problem


def test_the_choice_is_one_log_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(choice, "ask_driver", lambda: NONE)
    forget()
    with caplog.at_level(logging.INFO, "driftcam.engines.backends"):
        assert open_backend("auto").name == "openvino"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("networks run on openvino") and line.endswith("(cpu): no NVIDIA driver is installed")
    assert line.endswith(explain(open_backend("auto"))), "which is what the engine reports to the daemon"


@pytest.mark.parametrize("backend", [TorchBackend(), OpenVinoBackend()], ids=lambda backend: backend.name)
def test_every_precision_agrees_with_torch_and_states_its_cost(backend: Backend) -> None:
    spec = embedded_specs()[1]
    shapes = spec.shapes(batch=2, height=1, width=2)
    inputs = spec.examples(torch.float32, batch=2, height=1, width=2)
    reference = TorchBackend().compile(spec, shapes, "fp32")(*inputs)
    for precision, tolerance in {"fp32": 1e-3, "bf16": 0.1}.items():
        if precision not in backend.precisions:
            continue
        network = backend.compile(spec, shapes, precision)
        result = network(*inputs)
        assert result.device == inputs[0].device and result.dtype == torch.float32
        assert (result - reference).std() <= tolerance * reference.std()
        cost = network.cost
        assert cost.precision == precision and cost.device == "cpu" and cost.build_s > 0
        assert cost.parameters == sum(p.numel() for p in spec.module.parameters())
        assert cost.memory >= cost.parameters * {"fp32": 4, "bf16": 2}[precision]


def test_a_precision_that_is_not_there_lists_those_that_are() -> None:
    spec = embedded_specs()[0]
    with pytest.raises(ParameterError, match="openvino backend has here"):
        OpenVinoBackend().compile(spec, spec.shapes(batch=1, height=1, width=1), "fp8")


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("places", [(20,), (6, 5)])
@pytest.mark.parametrize("affine", [True, False])
def test_openvinos_group_norm_is_torchs(rows: int, places: tuple[int, ...], affine: bool) -> None:
    norm = nn.GroupNorm(4, 12, affine=affine)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = 5 + torch.randn(rows, 12, *places)
    network = for_openvino(nn.Sequential(norm))
    assert not any(isinstance(layer, nn.GroupNorm) for layer in network.modules())
    torch.testing.assert_close(network(x), norm(x))


def test_openvinos_unshuffling_convolution_is_torchs() -> None:
    again = nn.Conv2d(28, 28, 1)
    network = nn.Sequential(
        *(nn.PixelUnshuffle(4), nn.Conv2d(48, 7, 1), nn.PixelUnshuffle(2), nn.Conv2d(28, 28, 3, padding=1)),
        *(again, nn.PixelUnshuffle(1), again, nn.PixelUnshuffle(2), nn.Conv2d(112, 6, 1, padding=1)),
    )
    other = for_openvino(network)
    assert [type(layer) for layer in other] == [
        *(nn.Identity, nn.Conv2d, nn.PixelUnshuffle, nn.Conv2d),
        *(nn.Conv2d, nn.Identity, nn.Conv2d, nn.PixelUnshuffle, nn.Conv2d),
    ]
    assert other[3].weight is network[3].weight, "no memory is spent twice"
    x = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(other(x), network(x))
