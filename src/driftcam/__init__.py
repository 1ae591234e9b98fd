"""Live video through diffusion, with noise that drifts with the picture.

    from driftcam import Engine, Parameters

`driftcam.engines` turns frames into stylised frames, `driftcam.daemon` moves them, `driftcam.webrtc` meets browsers;
they are the top-level folders of the repository under one name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftcam.engines.api import ParameterError, Parameters

if TYPE_CHECKING:
    from driftcam.engines.engine import Engine, Stylised

__all__ = ["Engine", "ParameterError", "Parameters", "Stylised"]


def __getattr__(name: str) -> Any:
    # The engine brings torch and OpenVINO with it: it is loaded when it is first named.
    if name in ("Engine", "Stylised"):
        from driftcam.engines import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'driftcam' has no attribute {name!r}")
