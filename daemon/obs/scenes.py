"""What `driftcam obs setup` makes in OBS, and what `uninstall` takes away again. All of it may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftcam.daemon.errors import RunError
from driftcam.daemon.obs.remote import Refused, Remote

FILTER_KIND, OUTPUT_KIND = "driftcam_filter", "driftcam_output"
FILTER, OUTPUT = "Driftcam", "Driftcam Output"
NOT_FOUND = 600


def plugin_loaded(remote: Remote) -> bool:
    """Whether this OBS runs the plugin."""
    return OUTPUT_KIND in remote.call("GetInputKindList")["inputKinds"]


def ensure_output(remote: Remote, scene: str) -> bool:
    """A scene that shows what the daemon makes. False when it was there."""
    names = {entry["sceneName"] for entry in remote.call("GetSceneList")["scenes"]}
    if scene not in names:
        remote.call("CreateScene", sceneName=scene)
    items = remote.call("GetSceneItemList", sceneName=scene)["sceneItems"]
    if any(item.get("inputKind") == OUTPUT_KIND for item in items):
        return False
    if OUTPUT in {source["inputName"] for source in remote.call("GetInputList")["inputs"]}:
        item = remote.call("CreateSceneItem", sceneName=scene, sourceName=OUTPUT)["sceneItemId"]
    else:
        values: dict[str, Any] = {"sceneName": scene, "inputName": OUTPUT, "inputKind": OUTPUT_KIND}
        item = remote.call("CreateInput", **values)["sceneItemId"]
    fill_canvas(remote, scene, item)
    return True


def fill_canvas(remote: Remote, scene: str, item: int) -> None:
    """Scale an item to the canvas, whole and centred, whatever size its picture will have."""
    video = remote.call("GetVideoSettings")
    transform = {
        "boundsType": "OBS_BOUNDS_SCALE_INNER",
        "boundsWidth": video["baseWidth"],
        "boundsHeight": video["baseHeight"],
        "boundsAlignment": 0,
    }
    remote.call("SetSceneItemTransform", sceneName=scene, sceneItemId=item, sceneItemTransform=transform)


def ensure_filter(remote: Remote, source: str, settings: dict[str, Any]) -> bool:
    """The filter on a source or scene. False when it was there; its settings are changed then. Raises `RunError`."""
    try:
        filters = remote.call("GetSourceFilterList", sourceName=source)["filters"]
    except Refused as error:
        if error.code != NOT_FOUND:
            raise
        names = ", ".join(sorted(source_names(remote))) or "none"
        raise RunError(f"there is no source {source!r} in OBS; there are: {names}") from None
    for entry in filters:
        if entry["filterKind"] == FILTER_KIND:
            values = {"sourceName": source, "filterName": entry["filterName"]}
            if settings:
                remote.call("SetSourceFilterSettings", **values, filterSettings=settings)
            return False
    values = {"sourceName": source, "filterName": FILTER, "filterKind": FILTER_KIND}
    remote.call("CreateSourceFilter", **values, filterSettings=settings)
    return True


def source_names(remote: Remote) -> list[str]:
    """All that can have a filter: sources and scenes."""
    sources = [entry["inputName"] for entry in remote.call("GetInputList")["inputs"]]
    return sources + [entry["sceneName"] for entry in remote.call("GetSceneList")["scenes"]]


def remove_all(remote: Remote, scene: str, say: Callable[[str], None]) -> None:
    """Every Driftcam filter and output, and the scene of `ensure_output` if nothing else is in it."""
    for source in source_names(remote):
        for entry in remote.call("GetSourceFilterList", sourceName=source)["filters"]:
            if entry["filterKind"] == FILTER_KIND:
                remote.call("RemoveSourceFilter", sourceName=source, filterName=entry["filterName"])
                say(f"removed the filter {entry['filterName']!r} from {source!r}")
    scenes = {entry["sceneName"] for entry in remote.call("GetSceneList")["scenes"]}
    items = remote.call("GetSceneItemList", sceneName=scene)["sceneItems"] if scene in scenes else []
    for entry in remote.call("GetInputList", inputKind=OUTPUT_KIND)["inputs"]:
        remote.call("RemoveInput", inputName=entry["inputName"])
        say(f"removed the source {entry['inputName']!r}")
    if items and all(item.get("inputKind") == OUTPUT_KIND for item in items) and len(scenes) > 1:
        remote.call("RemoveScene", sceneName=scene)
        say(f"removed the scene {scene!r}")


def start_virtual_camera(remote: Remote) -> str:
    """Start OBS's own virtual camera; what to say about it."""
    try:
        if remote.call("GetVirtualCamStatus")["outputActive"]:
            return "OBS's virtual camera is on"
        remote.call("StartVirtualCam")
        return "OBS's virtual camera is on now"
    except Refused:
        return "OBS has no virtual camera here: install v4l2loopback (docs/devices.md), then start OBS again"
