"""A sink for the frame bus (docs/bus.md): saves results as PNG files. `python -m scripts.examples.sink FOLDER`"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2

from driftcam.engines.api.bus_client import BusClient


def main(folder: Path, session: str = "example", count: int = 10) -> None:
    """Saves `count` pictures as they come, and says how old each is."""
    with BusClient("sink", session=session, name="to PNG") as bus:
        for number in range(count):
            picture, pts = bus.receive(timeout=60)
            path = folder / f"{number:03}.png"
            cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            print(f"{path}: {(time.monotonic_ns() - pts) / 1e6:.0f} ms after its capture")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "example")
