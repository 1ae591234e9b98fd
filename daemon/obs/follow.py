"""Follows OBS: a preset for every scene, and numbers for whoever listens on the websocket."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from driftcam.daemon.errors import RunError
from driftcam.daemon.obs.remote import Refused, Remote
from driftcam.engines.api import ParameterError

SCENE_CHANGED = "CurrentProgramSceneChanged"


def parse_scenes(given: list[str]) -> dict[str, str]:
    """`SCENE=PRESET` to a mapping. Raises `ParameterError`."""
    presets = {}
    for text in given:
        scene, _, preset = text.rpartition("=")
        if not scene or not preset:
            raise ParameterError("scene", text, "write SCENE=PRESET")
        presets[scene] = preset
    return presets


def summary(streams: list[dict[str, Any]]) -> str:
    """One line a stream, for people."""
    lines = []
    for stream in streams:
        where = stream["source"] or stream["name"]
        line = f"{where}: {stream['state']}"
        if stream["state"] == "connected":
            line += (
                f", {stream['style'] or stream['session']}, {stream['fps']:.1f} fps, {stream['latency']['p50']:.0f} ms"
            )
        line += f" ({problem})" if (problem := stream["refusal"] or stream["trouble"]) else ""
        lines.append(line)
    return "\n".join(lines) or "no Driftcam filter or output"


class Follower:
    """Until `stop` is set: applies presets at scene changes, sends numbers every `interval` seconds (0: never).

    The numbers go out as the custom event `{"driftcam": {"streams": […]}}`, and into the text source `text` if named.
    """

    def __init__(
        self,
        remote: Remote,
        presets: Mapping[str, str],
        *,
        interval: float,
        text: str | None,
        say: Callable[[str], None],
    ) -> None:
        self._remote, self._presets, self._interval = remote, presets, interval
        self._text, self._say = text, say
        self._scenes: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self, stop: threading.Event) -> None:
        """Raises `RunError` when OBS goes away."""
        self._remote.listen(self._on_event)  # before the first look, so that no change is missed
        self._apply(self._remote.call("GetCurrentProgramScene")["currentProgramSceneName"])
        pause = self._interval or 5.0  # without numbers only to see whether OBS is still there
        while not stop.is_set():
            try:
                scene = self._scenes.get(timeout=pause)
            except queue.Empty:
                self._push()
                continue
            if scene:
                self._apply(scene)

    def wake(self) -> None:
        """So that `run` sees `stop` at once."""
        self._scenes.put("")

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        if name == SCENE_CHANGED:
            self._scenes.put(str(data["sceneName"]))

    def _apply(self, scene: str) -> None:
        preset = self._presets.get(scene)
        if preset is None:
            return
        for stream in self._remote.vendor("stats")["streams"]:
            if stream["kind"] != "filter":
                continue
            try:
                self._remote.vendor("preset", source=stream["source"], filter=stream["name"], name=preset)
                self._say(f"{scene}: preset {preset} on {stream['source']}")
            except Refused as error:
                self._say(str(error))

    def _push(self) -> None:
        streams = self._remote.vendor("stats")["streams"]
        if not self._interval:
            return
        slim = [{k: v for k, v in stream.items() if k not in ("styles", "presets")} for stream in streams]
        self._remote.call("BroadcastCustomEvent", eventData={"driftcam": {"streams": slim}})
        if self._text:
            try:
                settings = {"text": summary(streams)}
                self._remote.call("SetInputSettings", inputName=self._text, inputSettings=settings)
            except Refused as error:
                raise RunError(f"the text source {self._text!r} cannot be written: {error.comment}") from None
