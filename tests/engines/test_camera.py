"""The camera's affine motion on pictures made with a known one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from driftcam.engines.motion.camera import camera_motion, follow, inverse
from driftcam.engines.motion.flow import DisFlow
from tests.engines.test_flow import texture, view


def moved(scene: np.ndarray, motion: np.ndarray, side: int = 128) -> np.ndarray:
    """The view that `motion` makes of the one at rest."""
    back = inverse(motion).reshape(2, 3)
    y, x = np.mgrid[:side, :side].astype(np.float64)
    px, py = x - side / 2, y - side / 2
    u = x + back[0, 0] + back[0, 1] * px + back[0, 2] * py + 40
    v = y + back[1, 0] + back[1, 1] * px + back[1, 2] * py + 40
    picture = cv2.remap(scene, u.astype(np.float32), v.astype(np.float32), cv2.INTER_CUBIC)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


MOTIONS = {
    "pan": [1.3, 0, 0, -0.4, 0, 0],
    "slow pan": [0.1, 0, 0, 0.05, 0, 0],
    "zoom": [0.2, 0.015, 0, 0, 0, 0.015],
    "roll": [0, 0, -0.02, 0, 0.02, 0],
    "still": [0] * 6,
}


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("with_object", [False, True])
def test_motion_is_found_to_a_fiftieth_of_a_pixel(name: str, with_object: bool) -> None:
    scene, motion = texture(256, 0), np.array(MOTIONS[name], float)
    previous, current = view(scene, 0, 0), moved(scene, motion)
    if with_object:
        square = np.clip(texture(64, 7)[:40, :40], 0, 255).astype(np.uint8)
        previous[60:100, 30:70] = square
        current[57:97, 35:75] = square
    forward, _ = DisFlow().estimate(previous, current)
    found = camera_motion(previous, current, forward, 0.0)
    corners = np.array([[1, x, y] for x in (-64, 64) for y in (-64, 64)], float)
    error = np.abs(corners @ (found - motion).reshape(2, 3).T).max()
    assert error < (0.1 if with_object else 0.05), found


def test_inverse_undoes_the_motion() -> None:
    motion = np.array([3.0, 0.1, -0.05, -2.0, 0.02, -0.1])
    back = inverse(motion)
    np.testing.assert_allclose(inverse(back), motion, atol=1e-12)


def test_blank_pictures_do_not_move() -> None:
    blank = np.full((64, 64), 90, np.uint8)
    found = camera_motion(blank, blank, np.zeros((64, 64, 2), np.float32), 0.0)
    np.testing.assert_allclose(found, 0, atol=1e-9)


def test_flow_of_its_own_is_left_alone() -> None:
    motion = np.array([1.0, 0, 0, 0, 0, 0])
    flow = np.zeros((16, 16, 2), np.float32)
    flow[..., 0] = 0.9
    flow[4:8, 4:8, 0] = 3.0
    expected = np.where(flow == 0.9, 1.0, flow)
    expected[..., 1] = 0
    follow(motion, flow)
    np.testing.assert_allclose(flow[..., 0], np.where(expected[..., 0] == 3, 3, 1), atol=1e-6)
