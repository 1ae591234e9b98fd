"""What the driver says of GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftcam.daemon.service.gpus import gpus


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has an NVIDIA driver")
def test_without_a_driver_there_is_none() -> None:
    assert gpus() == []


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/proc/driver/nvidia").exists(), reason="there is no NVIDIA driver")
def test_memory_and_load_are_told() -> None:
    found = gpus()
    assert found
    for gpu in found:
        assert 0 <= gpu.memory_used <= gpu.memory_total
        assert 0 <= gpu.utilisation <= 1
