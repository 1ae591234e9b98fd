"""What the engine tells of the motion between two results, and that telling it changes nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from driftcam.engines.api import Parameters
from driftcam.engines.api.planes import MOTION
from driftcam.engines.engine import Engine, Stylised

WIDTH, HEIGHT, PAN = 128, 96, (3, 2)


def scene() -> np.ndarray:
    noise = np.random.default_rng(3).integers(0, 256, (200, 240, 3), np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(soft, soft, 0, 255, cv2.NORM_MINMAX)


def panned(number: int) -> np.ndarray:
    """The camera goes right and down, so that the scene goes left and up."""
    x, y = PAN[0] * number, PAN[1] * number
    return np.ascontiguousarray(scene()[y : y + HEIGHT, x : x + WIDTH])


def results(frames: list[np.ndarray], **parameters: object) -> list[Stylised]:
    engine = Engine(Parameters(width=WIDTH, height=HEIGHT).replace(**parameters))
    return [engine.process(frame, number)[0] for number, frame in enumerate(frames)]


@pytest.mark.parametrize("changes", [{}, {"memory": 0.0}, {"noise": "fixed"}, {"strength": 0.0}], ids=str)
def test_a_pan_is_told_in_pixels_of_the_result_whatever_follows_it(changes: dict) -> None:
    told = [each.planes.get(MOTION) for each in results([panned(k) for k in range(6)], smooth="60", **changes)]
    assert told[0] is None, "there is no frame before"
    for plane in told[1:]:
        assert plane is not None
        assert plane.dtype == np.float32
        x, y, surface = np.median(plane[8:-8, 8:-8], axis=(0, 1))
        assert (x, y) == pytest.approx(PAN, abs=0.2)
        assert surface > 0.9


def test_nothing_is_told_of_a_still_picture_a_cut_or_another_look() -> None:
    still, other = panned(0), np.ascontiguousarray(255 - scene()[::-1][:HEIGHT, -WIDTH:])
    told = [MOTION in each.planes for each in results([still, still, panned(1), other], smooth="30")]
    assert told == [False, False, True, False]
    engine = Engine(Parameters(width=WIDTH, height=HEIGHT, smooth="60"))
    engine.process(panned(0), 0)
    engine.update(engine.parameters.replace(styles=(("inferno", 1.0),)))
    assert MOTION not in engine.process(panned(1), 1)[0].planes
    assert MOTION in engine.process(panned(2), 2)[0].planes


def test_it_is_asked_for_in_mid_stream_and_the_painting_stays_the_same() -> None:
    def painted(smooth: str) -> list[np.ndarray]:
        engine = Engine(Parameters(width=WIDTH, height=HEIGHT))
        images = []
        for number in range(6):
            if number == 3:
                engine.update(engine.parameters.replace(smooth=smooth))
            (result,) = engine.process(panned(number), number)
            assert (MOTION in result.planes) == (smooth != "off" and number >= 3)
            images.append(result.image.copy())
        return images

    np.testing.assert_array_equal(painted("60"), painted("off"))


def test_the_memory_begins_with_what_is_painted_after_it_was_off() -> None:
    engine = Engine(Parameters(width=WIDTH, height=HEIGHT, smooth="60", memory=0.0))
    for number in range(3):
        engine.process(panned(number), number)
    engine.update(engine.parameters.replace(memory=0.95))
    (result,) = engine.process(panned(3), 3)
    (without,) = results([panned(k) for k in range(4)], memory=0.0)[3:]
    np.testing.assert_array_equal(result.image, without.image)


def test_a_number_is_as_good_as_its_text() -> None:
    assert Parameters(smooth=60).smooth == "60"  # type: ignore[arg-type]
