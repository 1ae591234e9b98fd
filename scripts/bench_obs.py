"""What the filter costs a frame of OBS, stage by stage, and how many frames later a picture is back.

python -m scripts.bench_obs [--json] [--seconds 8]

A real OBS under Xvfb with software rendering; at the other end of the bus a process that gives every frame back as it
is, so that what is measured is the way and not a model. Needs what `make obs-plugin` needs, obs-studio and xvfb.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from driftcam.engines.api.bus import Message
from tests.obs_plugin import peer as peers
from tests.obs_plugin.peer import Client, Peer
from tests.system.obs.rig import ROOT, Obs, poll, start_obs
from tests.system.obs.scenes import add_filter

SIZES = {"512²": (512, 512), "720p": (1280, 720), "1080p": (1920, 1080)}
STAGES = ("draw", "copy", "upload", "show")
WARM_UP = 2.0


def give_back(path: Path, size: tuple[int, int]) -> None:
    """In a process of its own: the other end of the bus, that wants frames of `size` whatever the plugin would like."""
    peers.SLOT_BYTES = size[0] * size[1] * 4

    def welcome(client: Client) -> None:
        client.parameters |= {"width": size[0], "height": size[1]}
        client._accept = lambda changes: None  # type: ignore[method-assign]
        peers.welcome(client)

    def answer(client: Client, message: Message) -> None:
        assert client.input is not None
        client.show(client.input.view(message), message.pts)
        client.say(peers.MessageType.RELEASE, slot=message.slot)

    peer = Peer(path, size)
    peer.welcome, peer.on_frame = welcome, answer
    while True:
        time.sleep(3600)


def measure(obs: Obs, size: tuple[int, int], seconds: float) -> dict[str, Any]:
    """One size: milliseconds of the stages and the round trip, 50th and 95th percentile."""
    file = obs.home / "noise.png"
    picture = np.random.default_rng(0).integers(0, 255, (size[1] // 8, size[0] // 8, 3), np.uint8)
    cv2.imwrite(str(file), cv2.resize(picture, size))
    name, scene = f"{size[0]}×{size[1]}", obs.remote.call("GetSceneList")["currentProgramSceneName"]
    socket = obs.home / "runtime" / "driftcam" / "bus.sock"
    peer = multiprocessing.get_context("spawn").Process(target=give_back, args=(socket, size), daemon=True)
    peer.start()
    try:
        poll(socket.exists, "the other end")
        settings = {"file": str(file)}
        obs.remote.call(
            "CreateInput", sceneName=scene, inputName=name, inputKind="image_source", inputSettings=settings
        )
        add_filter(obs, name, style="same")
        poll(lambda: obs.stream(name)["results"] > 10, "pictures")
        time.sleep(WARM_UP + seconds)
        stream = obs.stream(name)
        obs.remote.call("RemoveInput", inputName=name)
    finally:
        peer.kill()
        peer.join()
        socket.unlink(missing_ok=True)
    assert (stream["width"], stream["height"]) == size, "the frames had the size that is measured"
    row: dict[str, Any] = {"size": name, "fps": stream["fps"], "frames": stream["latency"]["count"]}
    for stage in STAGES:
        row[stage] = {key: stream[stage][key] for key in ("p50", "p95")}
    row["round_trip_ms"] = {key: stream["latency"][key] for key in ("p50", "p95")}
    row["round_trip_frames"] = {key: stream["latency"][key] / stream["frame_ms"] for key in ("p50", "p95")}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """For people, as it can stand in a document."""
    head = "| ms a frame, p50 (p95) | " + " | ".join(SIZES) + " |\n|---|" + "---|" * len(SIZES) + "\n"
    names = {
        "draw": "draw at the model's size and stage",
        "copy": "map and copy into shared memory",
        "upload": "result to the GPU",
        "show": "draw the result",
        "round_trip_ms": "round trip",
        "round_trip_frames": "round trip, frames of OBS",
    }
    lines = []
    for key, about in names.items():
        digits = 1 if key.startswith("round") else 2
        cells = (f"{row[key]['p50']:.{digits}f} ({row[key]['p95']:.{digits}f})" for row in rows)
        lines.append(f"| {about} | " + " | ".join(cells) + " |")
    return head + "\n".join(lines)


def main() -> None:
    """Prints the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the same numbers for programs")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each size (8)")
    options = parser.parse_args()
    subprocess.run(["make", "-s", "obs-plugin"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as home:
        obs = start_obs(Path(home), ROOT / "build" / "obs-plugin" / "stage")
        try:
            version = obs.remote.call("GetVersion")["obsVersion"]
            rows = [measure(obs, size, options.seconds) for size in SIZES.values()]
        finally:
            obs.stop()
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "obs": version}
    print(json.dumps({**machine, "rows": rows}, indent=1) if options.json else table(rows))


if __name__ == "__main__":
    main()
