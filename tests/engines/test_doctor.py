"""What the doctor finds out about a machine and what its self-test notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftcam.engines.backends.nvidia import Card, DriverFacts
from driftcam.engines.backends.openvino_backend import OpenVinoBackend
from driftcam.engines.backends.torch_backend import TorchBackend
from driftcam.engines.doctor.facts import driver_version, graphics, processor
from driftcam.engines.doctor.selftest import try_network
from driftcam.engines.models.embedded.model import embedded_specs


def test_the_processors_instructions_are_read(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU: fast\nflags\t\t: fpu avx2 avx512f amx_bf16\n\nmodel name\t: other\n")
    assert processor(cpuinfo).detail.startswith("Some CPU: fast, ")
    assert processor(cpuinfo).detail.endswith("avx2, avx512f, amx_bf16")
    assert "unknown" in processor(tmp_path / "none").detail


@pytest.mark.parametrize(
    ("driver", "state", "words"),
    [
        (DriverFacts((13, 0), (Card("RTX 4080", (8, 9), 17_000_000_000),), ""), "good", "RTX 4080, sm89, 17 GB"),
        (DriverFacts((12, 4), (Card("RTX 4080", (8, 9), 17_000_000_000),), "update it"), "bad", "RTX 4080"),
        (DriverFacts((0, 0), (), "no NVIDIA driver is installed"), "absent", "no NVIDIA driver"),
    ],
)
def test_a_card_that_cannot_be_used_is_bad_and_none_is_no_failure(driver: DriverFacts, state: str, words: str) -> None:
    finding = graphics(driver)
    assert finding.state == state and words in finding.detail
    assert ("runs CUDA" in driver_version(driver).detail) == (driver.cuda != (0, 0))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_openvino_passes(index: int) -> None:
    finding = try_network(OpenVinoBackend(), TorchBackend(), embedded_specs()[index])
    assert finding.state == "good" and " ms in " in finding.detail and "differs by" in finding.detail


class Wrong(TorchBackend):
    """Computes something else."""

    def compile(self, spec, shapes, precision="auto", progress=None):
        network = super().compile(spec, shapes, precision, progress)

        class Halved:
            cost = network.cost

            def __call__(self, *inputs):
                return network(*inputs) * 0.5

        return Halved()


def test_wrong_results_are_bad() -> None:
    finding = try_network(Wrong(), TorchBackend(), embedded_specs()[1])
    assert finding.state == "bad" and "wrong" in finding.advice
