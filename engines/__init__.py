"""Frames in, stylised frames out.

    from engines import Engine, Parameters

`engines.api` is light and is all that other rooms import; `Engine` brings torch and OpenVINO with it
and is loaded when it is first named.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from engines.api import ParameterError, Parameters

if TYPE_CHECKING:
    from engines.engine import Engine, Stylised

__all__ = ["Engine", "ParameterError", "Parameters", "Stylised"]

# Nothing here phones home: without this module OpenVINO falls back to its silent stand-in.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def __getattr__(name: str) -> Any:
    if name in ("Engine", "Stylised"):
        from engines import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'engines' has no attribute {name!r}")
