"""Everything that numba compiles for a moving picture."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from driftcam.engines.api.anchors import anchor_of
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.image.luma import WorkingLuma
from driftcam.engines.image.shift import Shift
from driftcam.engines.memory.anchors import AnchorFrames
from driftcam.engines.memory.texture import TextureMemory
from driftcam.engines.motion.anchor import Anchor
from driftcam.engines.motion.stage import MotionStage
from driftcam.engines.noise.temporal import TemporalNoise


@functools.cache
def compile_kernels() -> None:
    """Compile it, or load it from the cache, so that no frame waits for it.

    A quarter of a minute once on a machine, some tenths of a second in each process after that.
    """
    scene = np.random.default_rng(0).integers(0, 256, (64, 80), np.uint8)
    scene = cv2.normalize(cv2.GaussianBlur(scene, (0, 0), 2), scene, 0, 255, cv2.NORM_MINMAX)
    stage, noise, anchor = MotionStage((8, 8)), TemporalNoise(8, 8, 1, 1, seed=0), Anchor(8)
    for shift in range(0, 12, 3):
        luma = np.ascontiguousarray(scene[:, shift : shift + 64])
        anchor.follow(luma, 3.0)
        noise.advance(stage.advance(luma), degradation=0.5)
    frame, moved = np.zeros((2, 96, 96, 3), np.uint8)
    memory = TextureMemory(96, 96)
    for _ in range(2):
        memory.blend(frame, memory.follow(frame, (0, 0), 1.0))
    anchors = AnchorFrames()
    anchors.use(Parameters(anchors=(anchor_of(frame),)))
    anchors.hold(frame)
    WorkingLuma().convert(frame, np.empty((32, 32), np.uint8))
    Shift()(frame, 0.5, 0.5, moved)
