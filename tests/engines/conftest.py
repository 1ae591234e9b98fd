"""Settings of the engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from driftcam.engines.backends.network import NetworkSpec, Ranges
from driftcam.engines.models.embedded.model import embedded_specs

SMALL = Ranges(batch=(1, 1, 4), height=(2, 3, 5), width=(2, 3, 5))


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Networks of a few channels run slower on two threads than on one, above all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedded_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[NetworkSpec, Path]]:
    """A network of the embedded model and its ONNX graph over the default ranges, exported once in a run."""
    folder, made = tmp_path_factory.mktemp("onnx"), {}

    def exported(name: str, precision: str) -> tuple[NetworkSpec, Path]:
        from driftcam.engines.backends.export import export_onnx

        if (name, precision) not in made:
            spec = next(s for s in embedded_specs() if s.name == name)
            made[name, precision] = spec, export_onnx(spec, folder / f"{name}-{precision}.onnx", precision)
        return made[name, precision]

    return exported


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[NetworkSpec, Path]]:
    """A network of a tiny checkpoint and its ONNX graph over `SMALL`, exported once in a run."""
    folder, made = tmp_path_factory.mktemp("tiny"), {}

    def exported(layout: str, name: str, precision: str = "fp32") -> tuple[NetworkSpec, Path]:
        from driftcam.engines.backends.export import export_onnx
        from driftcam.engines.models.stable_diffusion.specs import checkpoint_specs
        from tests.engines.test_checkpoints import full_vae, tiny_unet

        key = (layout if name == "unet" else "any", name, precision)  # all have the same autoencoder
        if key not in made:
            torch.manual_seed(0)
            specs = checkpoint_specs(tiny_unet(layout).eval(), full_vae().eval())
            spec = next(s for s in specs if s.name == name)
            path = folder / f"{'-'.join(map(str, key))}.onnx"
            made[key] = spec, export_onnx(spec, path, precision, SMALL)
        return made[key]

    return exported
