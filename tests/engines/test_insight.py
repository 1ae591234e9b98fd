"""The small pictures of flow and noise."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from driftcam.engines.api import Parameters
from driftcam.engines.engine import Engine
from driftcam.engines.insight import flow_picture, insight, noise_picture
from driftcam.engines.motion.flow import Motion
from driftcam.engines.motion.stage import FrameMotion


def moving(x: float, y: float) -> Motion:
    flow = np.zeros((48, 64, 2), np.float32)
    flow[:, 32:] = x, y
    return Motion(flow, -flow, np.ones((48, 64), np.float32), cut=False, still=False)


def test_flow_shows_direction_as_colour_and_speed_as_opacity() -> None:
    right, left = flow_picture(moving(6, 0)), flow_picture(moving(-6, 0))
    assert right[:, :20, 3].max() == 0 and right[:, 44:, 3].min() > 100
    assert np.abs(right[24, 50, :3].astype(int) - left[24, 50, :3]).max() > 100
    assert flow_picture(moving(2, 0))[24, 50, 3] < right[24, 50, 3]


def test_noise_shows_its_channels() -> None:
    noise = np.zeros((2, 4, 6, 8), np.float32)
    noise[0, 0] = 2.5
    picture = noise_picture(noise)
    assert picture.shape == (6, 8, 3) and picture[0, 0, 0] == 255 and 120 < picture[0, 0, 1] < 135


def test_an_engine_shows_that_the_picture_moves_and_that_it_stands_still() -> None:
    engine = Engine(Parameters(width=128, height=96, steps=1))
    scene = np.random.default_rng(3).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    scene = cv2.resize(scene, (160, 96), interpolation=cv2.INTER_CUBIC)
    for step in range(3):
        engine.step(scene[:, step * 3 : step * 3 + 128])
    seen = engine.insight()
    noise = cv2.imdecode(np.frombuffer(base64.b64decode(seen["noise"]), np.uint8), cv2.IMREAD_COLOR)
    assert noise.std() > 20
    engine.step(scene[:, 6:134])
    engine.step(scene[:, 6:134])
    assert engine.insight()["flow"] is None


def test_a_cut_is_told() -> None:
    motion = moving(1, 0)
    cut = Motion(motion.forward, motion.backward, motion.confidence, cut=True, still=False)
    assert insight(FrameMotion(flow=cut), np.zeros((1, 4, 2, 2), np.float32))["cut"] is True
