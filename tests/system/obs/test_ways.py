"""OBS's own picture into Driftcam without the plugin: OBS sends to an address, the daemon's source reads there."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from driftcam.daemon.sources.url import UrlSource
from tests.system.obs.rig import Obs, free_port, poll
from tests.system.obs.scenes import add_colour

pytestmark = pytest.mark.serial


def test_obs_sends_its_picture_to_the_daemons_source(obs: Obs, scene: str) -> None:
    add_colour(obs, scene, "red", (255, 0, 0))
    address, stop = f"udp://127.0.0.1:{free_port()}", threading.Event()
    seen: list[np.ndarray] = []

    def read() -> None:
        for picture in UrlSource(address, lambda line: None).frames(stop, paced=True):
            seen[:] = [picture.image]

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    values = {"parameterCategory": "AdvOut", "parameterName": "FFURL", "parameterValue": f"{address}?pkt_size=1316"}
    obs.remote.call("SetProfileParameter", **values)
    obs.remote.call("StartRecord")
    try:
        poll(lambda: seen and seen[0].shape == (360, 640, 3), "pictures of OBS")
        poll(lambda: np.abs(np.median(seen[0], axis=(0, 1)) - (255, 0, 0)).max() < 12, "the colour of the scene")
    finally:
        obs.remote.call("StopRecord")
        stop.set()
        reading.join(20)
