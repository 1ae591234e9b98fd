"""Short ways to put things into an OBS scene."""

from __future__ import annotations

from typing import Any

from tests.system.obs.rig import CANVAS, Obs

FILTER = "Driftcam"


def add_colour(obs: Obs, scene: str, name: str, rgb: tuple[int, int, int], alpha: int = 255, **settings: Any) -> int:
    """A source of one colour that fills the canvas; the number of its scene item."""
    red, green, blue = rgb
    values = {"color": alpha << 24 | blue << 16 | green << 8 | red, "width": CANVAS[0], "height": CANVAS[1]}
    answer = obs.remote.call(
        "CreateInput",
        sceneName=scene,
        inputName=name,
        inputKind="color_source_v3",
        inputSettings=values | settings,
    )
    return answer["sceneItemId"]


def set_colour(obs: Obs, name: str, rgb: tuple[int, int, int], alpha: int = 255) -> None:
    """Another colour for such a source."""
    red, green, blue = rgb
    values = {"color": alpha << 24 | blue << 16 | green << 8 | red}
    obs.remote.call("SetInputSettings", inputName=name, inputSettings=values)


def add_filter(obs: Obs, source: str, name: str = FILTER, **settings: Any) -> None:
    """Driftcam on a source or scene."""
    obs.remote.call(
        "CreateSourceFilter",
        sourceName=source,
        filterName=name,
        filterKind="driftcam_filter",
        filterSettings=settings,
    )
