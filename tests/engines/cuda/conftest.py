"""The kernels compiled for the CPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from driftcam.engines.backends.cuda.kernels import SOURCE


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The same source as on the card, by the system's compiler; see shim.c."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs gcc or clang")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = [compiler, "-O2", "-std=gnu11", "-shared", "-fPIC", f'-DSOURCE="{SOURCE}"', source, "-o", library, "-lm"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("the system's compiler has no half precision")
    return ctypes.CDLL(str(library))
