"""Settings of the engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engines.embedded.model import embedded_specs
from engines.network import NetworkSpec


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Networks of a few channels run slower on two threads than on one, above all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedded_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[NetworkSpec, Path]]:
    """A network of the embedded model and its ONNX graph over the default ranges, exported once in a run."""
    folder, made = tmp_path_factory.mktemp("onnx"), {}

    def exported(name: str, precision: str) -> tuple[NetworkSpec, Path]:
        from engines.export import export_onnx

        if (name, precision) not in made:
            spec = next(s for s in embedded_specs() if s.name == name)
            made[name, precision] = spec, export_onnx(spec, folder / f"{name}-{precision}.onnx", precision)
        return made[name, precision]

    return exported
