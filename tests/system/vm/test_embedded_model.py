"""The whole program as it is, embedded model and all, seen in the virtual camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.system.vm.conftest import HEIGHT, Daemon, Viewer, loopback, until
from tests.system.vm.test_virtual_camera import OPTIONS, SINK, shows_something


def test_the_embedded_model_is_seen_in_the_camera(tmp_path: Path) -> None:
    """The real engine, for once: what is seen is no placeholder, has colours, and moves."""

    def is_painted(i420: np.ndarray) -> bool:
        return bool(i420[:HEIGHT].std() > 20 and i420[HEIGHT:].std() > 10)

    with loopback("0.15.0", OPTIONS):
        arguments = ["--source", "test", "--sink", SINK, "--size", "96x64", "--steps", "1"]
        daemon = Daemon(tmp_path, *arguments, module="tests.system.vm.real_daemon")
        try:
            until(shows_something, "it is a camera")
            viewer = Viewer(tmp_path)
            until(lambda: viewer.count and is_painted(viewer.newest()), f"a painting: {daemon.words}", 240)
            first = viewer.newest()
            viewer.sees(lambda i420: np.abs(i420.astype(int) - first).mean() > 1, "another picture")
            viewer.end()
        finally:
            daemon.end()
