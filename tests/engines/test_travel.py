"""A change that takes its time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from driftcam import Engine, Parameters
from driftcam.engines.travel import Travel, between

SECOND = 10**9
START = Parameters(styles=(("weave", 1.0),), strength=0.2, freedom=0.0)
END = Parameters(styles=(("dusk", 1.0),), strength=0.8, freedom=0.4, steps=4, travel=2.0)


def test_half_way_is_half_of_both() -> None:
    half = between(START, END, 0.5)
    assert dict(half.styles) == pytest.approx({"weave": 0.5, "dusk": 0.5})
    assert (half.strength, half.freedom, half.steps) == (pytest.approx(0.5), pytest.approx(0.2), 4)


def test_the_ends_of_the_way_and_what_lies_before_and_behind() -> None:
    travel = Travel(START, END, pts=5 * SECOND)
    for pts in (0, 5 * SECOND):
        assert dict(travel.at(pts).styles) == {"weave": 1.0} and travel.at(pts).strength == pytest.approx(0.2)
    assert travel.at(6 * SECOND).strength == pytest.approx(0.5)
    assert travel.at(7 * SECOND) is None and travel.at(9 * SECOND) is None


def test_words_travel_from_the_names_of_styles_and_never_more_than_there_may_be() -> None:
    many = tuple((f"word {number}", 1.0) for number in range(8))
    half = between(START, END.replace(prompts=many), 0.5)
    assert len(half.prompts) == 8 and half.prompts[0] == ("weave", pytest.approx(0.5))
    both = between(START.replace(prompts=(("a", 2.0),)), END.replace(prompts=(("b", 5.0),)), 0.25)
    assert dict(both.prompts) == pytest.approx({"a": 0.75, "b": 0.25})


def test_the_style_of_a_picture_fades_in_and_out() -> None:
    vector = tuple(float(i) for i in range(100))
    there = between(START, END.replace(style_vector=vector, style_image_weight=0.8), 0.5)
    back = between(START.replace(style_vector=vector, style_image_weight=0.8), END, 0.75)
    assert (there.style_vector, there.style_image_weight) == (vector, pytest.approx(0.4))
    assert (back.style_vector, back.style_image_weight) == (vector, pytest.approx(0.2))


def test_a_stream_passes_from_one_look_to_the_other_without_a_jump() -> None:
    """The picture at each moment is that of the parameters between, and the way is even."""
    plain = {"width": 128, "height": 96, "noise": "fixed", "steps": 1, "similarity_threshold": 0.98, "memory": 0.0}
    start, end = START.replace(**plain), END.replace(**plain, travel=1.0)
    scene = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    engine = Engine(start, backend="torch")

    def picture(pts: int) -> np.ndarray:
        return engine.process(scene, pts)[-1].image.astype(int)

    pictures = [picture(0)]
    engine.update(end)
    pictures += [picture(SECOND + tenth * SECOND // 10) for tenth in range(11)]
    np.testing.assert_array_equal(pictures[1], pictures[0])  # the way begins where the stream was
    other = Engine(between(start, end, 0.5), backend="torch")
    assert np.abs(pictures[6] - other.step(scene)).max() <= 1
    np.testing.assert_array_equal(pictures[-1], Engine(end, backend="torch").step(scene))
    steps = [np.abs(b - a).mean() for a, b in itertools.pairwise(pictures[1:])]
    assert max(steps) < 0.35 * np.abs(pictures[-1] - pictures[0]).mean()
    assert engine.parameters == end
