"""One engine of one tree, for `scripts.bench_against`: a number of frames a line in, their milliseconds a line out.

It knows nothing of the tree but `Engine` and `Parameters`, so that trees of any age can run it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

WARM = 10


def main() -> None:
    source, size, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if (source / "driftcam").is_dir():
        from driftcam import Engine, Parameters
    else:  # before there was one package
        from engines import Engine, Parameters  # type: ignore[no-redef, attr-defined]
    where = Path(sys.modules[Parameters.__module__].__file__ or "")
    if not where.is_relative_to(source):
        sys.exit(f"bench-against: the engine was to come from {source}, but comes from {where}")
    # Every value that may have another default in another tree.
    parameters = Parameters(
        width=size, height=size, steps=steps, noise="warped", strength=1.0, freedom=0.3, styles=(("starry-night", 1.0),)
    )
    if hasattr(parameters, "memory"):  # a tree without one paints every frame anew
        parameters = parameters.replace(memory=0.0)
    engine, pictures, given = Engine(parameters), pan(120), 0

    def milliseconds() -> float:
        nonlocal given
        picture, given = pictures[given % len(pictures)], given + 1
        started = time.perf_counter()
        engine.step(picture)
        return (time.perf_counter() - started) * 1e3

    for _ in range(WARM):
        milliseconds()
    print("ready", flush=True)
    for line in sys.stdin:
        milliseconds()  # the other process had the caches
        print(json.dumps([milliseconds() for _ in range(int(line))]), flush=True)


def pan(count: int) -> list[np.ndarray]:
    """Frames of 512², a slow camera pan there and back over smooth random texture, as in `scripts.bench_engine`."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (80, 160, 3), dtype=np.uint8), (1600, 800), interpolation=cv2.INTER_CUBIC)
    lefts = [3 * k for k in (*range(count // 2), *reversed(range(count // 2)))]
    return [np.ascontiguousarray(scene[100:612, left : left + 512]) for left in lefts]


if __name__ == "__main__":
    main()
