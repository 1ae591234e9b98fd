"""Parameters that are moved from frame to frame, in the engine itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from driftcam import Engine, Parameters
from driftcam.daemon.frames import Picture
from driftcam.daemon.modulation.modulation import Modulation
from driftcam.engines.api.shift import NO_SHIFT, Shift
from tests.flashes import most_flashes, relative_luminance

PLAIN = Parameters(width=128, height=96, noise="fixed", memory=0.0)
SCENE = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def last(engine: Engine, pts: int, frame: np.ndarray = SCENE) -> np.ndarray:
    return engine.process(frame, pts)[-1].image.copy()


@pytest.mark.parametrize("pipeline", ["sequential", "stream"])
def test_the_picture_is_that_of_the_moved_values_and_then_again_of_those_that_were_set(pipeline: str) -> None:
    styles = (("weave", 0.5), ("dusk", 0.5))
    engine = Engine(PLAIN.replace(strength=0.4, styles=styles), backend="torch", pipeline=pipeline)
    before = last(engine, 0)
    engine.shift({"strength": 0.3, "freedom": 0.2, "styles.dusk": -0.5})
    moved = last(engine, 1)
    fresh = PLAIN.replace(strength=0.7, freedom=0.3, styles=(("weave", 1.0),))
    assert np.array_equal(moved, last(Engine(fresh, backend="torch", pipeline=pipeline), 0))
    engine.shift(NO_SHIFT)
    assert np.array_equal(last(engine, 2), before)


def test_nothing_is_begun_anew() -> None:
    """What is remembered of the paintings stays: beside another engine that began with the frame it is seen."""
    engine = Engine(PLAIN.replace(memory=0.95, noise="warped"), backend="torch")
    for pts in range(6):
        last(engine, pts)
    fields, kept = engine._noise, engine._memory._memory
    for pts in range(6, 12):
        engine.shift({"strength": -0.1 * (pts % 2), "memory": -0.05})
        last(engine, pts)
    assert engine._noise is fields and engine._memory._memory is kept
    assert kept is not None and engine.parameters.memory == pytest.approx(0.9)


def test_a_change_by_somebody_and_a_way_go_on_under_it() -> None:
    engine = Engine(PLAIN.replace(strength=0.2), backend="torch")
    last(engine, 0)
    engine.shift({"strength": 0.1})
    engine.update(PLAIN.replace(strength=0.6, travel=1.0))
    seen = []
    for tenth in range(12):
        last(engine, 10**9 + tenth * 10**8)
        seen.append(engine.parameters.strength)
    assert seen[0] == pytest.approx(0.3) and seen[5] == pytest.approx(0.5) and seen[-1] == pytest.approx(0.7)
    engine.shift({"strength": 0.9})
    last(engine, 3 * 10**9)
    assert engine.parameters.strength == 1.0


def test_what_was_not_painted_can_be_moved_to_paint() -> None:
    engine = Engine(PLAIN.replace(strength=0.0), backend="torch")
    untouched = last(engine, 0)
    engine.shift({"strength": 0.8})
    assert np.abs(last(engine, 1).astype(int) - untouched).mean() > 3


LOOKS = {
    "all at once": {name: {"follows": "square", "depth": 1.0, "beats": 1} for name in ("strength", "freedom")},
    "against each other": {
        "strength": {"follows": "square", "depth": 1.0, "beats": 1},
        "freedom": {"follows": "steps", "depth": -1.0, "beats": 1},
        "styles.starry-night": {"follows": "triangle", "depth": 1.0, "beats": 1},
        "memory": {"follows": "motion", "depth": -1.0},
    },
}


@pytest.mark.parametrize("modulators", LOOKS.values(), ids=LOOKS)
def test_a_picture_at_the_hardest_settings_does_not_strobe(modulators: dict) -> None:
    """By the definition of WCAG 2.3.1 over each sixteenth of the picture, at 30 frames a second for two seconds."""
    modulation = Modulation(lambda: None)
    modulation.change({"bpm": 180, "modulators": modulators})
    assert flashes(lambda number, picture: modulation.of(picture)) <= 3

    def unbounded(number: int, picture: Picture) -> Shift:
        return {name: each["depth"] * (1 if number // 2 % 2 else -1) for name, each in modulators.items()}

    assert flashes(unbounded) > 3  # these pictures would


def flashes(shift: Callable[[int, Picture], Shift]) -> int:
    styles = (("starry-night", 0.5), ("parchment", 0.5))
    engine = Engine(PLAIN.replace(strength=0.5, freedom=0.5, styles=styles, noise="warped", memory=0.9))
    times, fields = [], []
    for number in range(60):
        pts, frame = round(number * 1e9 / 30), np.roll(SCENE, number, 1)
        engine.shift(shift(number, Picture(frame, pts, 0)))
        luminance = relative_luminance(last(engine, pts, frame))
        times.append(pts / 1e9)
        fields.append(luminance.reshape(4, 24, 4, 32).mean((1, 3)))
    return max(most_flashes(times, [field[place] for field in fields]) for place in np.ndindex(4, 4))
