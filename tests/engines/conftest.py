"""Settings of the engine's tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Networks of a few channels run slower on two threads than on one, above all on a busy machine."""
    torch.set_num_threads(1)
