"""Finds and loads TensorRT.

TensorRT for RTX comes from PyPI alone: the bindings are one wheel, and the library itself lies in the wheel of ONNX
Runtime's execution provider. The bindings look for the library by its name, so it is loaded before them.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftcam.engines.api.errors import ParameterError

BINDINGS = "tensorrt-rtx-cu13-bindings"
PROVIDER = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
INSTALL = "install it with: pip install 'driftcam[rtx]'"
_FOLDER = "onnxruntime_ep_nv_tensorrt_rtx"
_LIBRARIES = ("libcudart.so.*", "libtensorrt_rtx.so.*", "libtensorrt_onnxparser_rtx.so.*")
_LIBRARIES_WINDOWS = ("cudart64_*.dll", "tensorrt_rtx_*.dll", "tensorrt_onnxparser_rtx_*.dll")


@dataclass(frozen=True)
class Library:
    """A loaded TensorRT.

    Attributes:
        trt: the Python module.
        flavour: `tensorrt_rtx` or `tensorrt`.
        version: of the library.
    """

    trt: Any
    flavour: str
    version: str


@functools.cache
def load() -> Library:
    """TensorRT for RTX where it is installed, else TensorRT.

    Raises:
        ParameterError: neither is installed, or bindings and library do not fit together.
    """
    try:
        return _load_rtx()
    except ModuleNotFoundError:
        pass
    try:
        module = importlib.import_module("tensorrt")
    except ImportError as error:
        raise ParameterError("tensorrt", f"not usable ({error})", INSTALL) from None
    return Library(module, "tensorrt", module.__version__)


def _load_rtx() -> Library:
    """Raises `ModuleNotFoundError` where a wheel is missing, `ParameterError` where they do not fit."""
    if importlib.util.find_spec("tensorrt_rtx") is not None:  # NVIDIA's own package brings the library along
        module = importlib.import_module("tensorrt_rtx")
        return Library(module, "tensorrt_rtx", module.__version__)
    provider = importlib.util.find_spec(_FOLDER)
    if provider is None or provider.origin is None or importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        raise ModuleNotFoundError(_FOLDER)
    wanted = importlib.metadata.version(BINDINGS)
    for path in provided_libraries(Path(provider.origin).parent):
        check_fit(path.name, wanted)
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    module = importlib.import_module("tensorrt_rtx_bindings")
    return Library(module, "tensorrt_rtx", module.__version__)


def provided_libraries(folder: Path) -> list[Path]:
    """The shared libraries in the order in which they need each other. Raises `ParameterError` for a missing one."""
    found = []
    for pattern in _LIBRARIES_WINDOWS if os.name == "nt" else _LIBRARIES:
        matches = sorted(folder.glob(pattern))
        if not matches:
            raise ParameterError("tensorrt", f"{folder} has no {pattern}", f"{PROVIDER} is damaged; {INSTALL}")
        found.append(matches[-1])
    return found


def check_fit(library: str, bindings: str) -> None:
    """Raises `ParameterError` when a TensorRT library, by the version in its file name, is not that of the bindings."""
    if "tensorrt" not in library or ".so." not in library:
        return
    version = library.split(".so.")[1]
    if not bindings.startswith(version):
        raise ParameterError(
            "tensorrt", f"library {version}, bindings {bindings}", f"they must be of one version; {INSTALL}"
        )
