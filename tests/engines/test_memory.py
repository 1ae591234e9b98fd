"""Nothing grows: ten thousand frames leave the process as large as it was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from driftcam import Engine, Parameters

WINDOWS, FRAMES = 5, 2_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of the process from /proc")
def test_memory_is_flat_within_one_per_cent_over_10000_frames():
    engine = Engine(Parameters(width=64, height=64, steps=1))
    scene = np.random.default_rng(0).integers(0, 255, (64, 256, 3), dtype=np.uint8)
    frames = [np.ascontiguousarray(scene[:, 2 * k : 2 * k + 64]) for k in range(90)]
    for k in range(1000):
        engine.process(frames[k % 90])
    sizes = [resident_bytes()]
    for _ in range(WINDOWS):
        for k in range(FRAMES):
            engine.process(frames[k % 90])
        sizes.append(resident_bytes())
    # What leaks with every frame grows in every window. The networks' allocator keeps what it once took: on a busy
    # machine the process becomes a few megabytes larger in one window or another, and never by as much again.
    assert WINDOWS * min(np.diff(sizes)) < 0.01 * sizes[0]
