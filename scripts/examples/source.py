"""A source for the frame bus (docs/bus.md): a disc goes round. `python -m scripts.examples.source [SESSION]`"""

from __future__ import annotations

import math
import sys
import time

import cv2
import numpy as np

from driftcam.engines.api.bus_client import BusClient


def main(session: str = "example", frames: int | None = None) -> None:
    """Gives 30 frames a second until it is interrupted, or `frames`."""
    with BusClient("source", session=session, name="disc") as bus:
        width, height = bus.size
        number = 0
        while number != frames:
            picture = np.full((height, width, 3), 90, np.uint8)
            x, y = (side * (0.5 + 0.3 * turn(number / 60)) for side, turn in ((width, math.cos), (height, math.sin)))
            cv2.circle(picture, (round(x), round(y)), min(width, height) // 8, (230, 180, 60), -1, cv2.LINE_AA)
            bus.send(picture)
            time.sleep(1 / 30)
            number += 1


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "example")
