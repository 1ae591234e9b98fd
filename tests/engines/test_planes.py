"""What a plane is, and what is not one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from driftcam.engines.api import ParameterError, Parameters, planes
from driftcam.engines.api.planes import KNOWN, Lifetime, PixelFormat, Plane, Scaling
from driftcam.engines.conditions.base import Seen
from driftcam.engines.engine import Engine


@pytest.mark.parametrize("plane", list(KNOWN.values()), ids=lambda plane: plane.name)
def test_a_description_survives_the_way(plane: Plane) -> None:
    assert Plane.from_dict(plane.to_dict()) == plane


@pytest.mark.parametrize(
    "changes", [{"format": "NV12"}, {"lifetime": "ever"}, {"scaling": 3}, {"name": "No"}, {"name": 7}]
)
def test_what_describes_no_plane_is_refused(changes: dict) -> None:
    with pytest.raises(ParameterError, match="plane"):
        Plane.from_dict(KNOWN["mask"].to_dict() | changes)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("mask", [[1]], "list"),
        ("mask", np.zeros((4, 4), bool), r"bool of shape \(4, 4\).*give uint8 of shape \(H, W\)"),
        ("mask", np.zeros((4, 4, 3), np.uint8), r"shape \(4, 4, 3\)"),
        ("mask", np.zeros((4, 4, 1), np.uint8), r"shape \(4, 4, 1\)"),
        ("mask", np.zeros((0, 4), np.uint8), "sides from 1"),
        ("depth", np.zeros((4, 4), np.uint8), "give uint16"),
        ("depth", np.zeros((4, 4), ">u2"), "give uint16"),
        ("control", np.zeros((4, 4), np.uint8), r"give uint8 of shape \(H, W, 3\)"),
    ],
)
def test_what_is_not_the_plane_is_refused_with_words(name: str, array: object, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        KNOWN[name].check(array)


def test_planes_are_checked_by_their_own_format() -> None:
    for plane in KNOWN.values():
        plane.check(np.zeros(plane.format.shape(5, 4), plane.format.dtype))


def test_a_condition_declares_a_plane_once() -> None:
    heat = Plane("heat", PixelFormat.GRAY8, "how hot it is", Lifetime.SESSION, Scaling.NEAREST)
    planes.declare(heat)
    try:
        planes.declare(heat)
        assert KNOWN["heat"] == heat
        with pytest.raises(ParameterError, match="another plane of this name"):
            planes.declare(Plane("heat", PixelFormat.GRAY16, "how hot it is"))
    finally:
        planes.withdraw(heat)
    assert "heat" not in KNOWN


def seen_by(engine: Engine, frame: np.ndarray, **given: np.ndarray) -> Mapping[str, np.ndarray]:
    """The planes that conditions see of a frame."""
    told: list[Seen] = []
    tell = engine._tell
    engine._tell = lambda seen: told.append(seen) or tell(seen)  # type: ignore[func-returns-value]
    engine.process(frame, engine._newest + 1, given)
    engine._tell = tell
    return told[0].planes


def test_conditions_see_the_planes_that_are_read_where_the_frame_lies() -> None:
    engine = Engine(Parameters(width=96, height=64, steps=1, noise="fixed"))
    engine.planes |= {name: KNOWN[name] for name in ("mask", "style_map")}
    frame = np.zeros((64, 192, 3), np.uint8)  # a quarter is cut off on both sides
    mask = np.zeros((32, 96), np.uint8)
    mask[:, 24:48] = 255
    seen = seen_by(engine, frame, mask=mask, depth=np.zeros((3, 3), np.uint16))
    assert list(seen) == ["mask"]
    assert seen["mask"].shape == engine.model.size
    assert (seen["mask"][:, :46] == 255).all() and (seen["mask"][:, 50:96] == 0).all()
    with pytest.raises(ParameterError, match="mask: "):
        engine.process(frame, 10**9, {"mask": frame})


def test_a_session_plane_is_seen_until_it_is_taken_away() -> None:
    heat = Plane("heat", PixelFormat.GRAY8, "how hot it is", Lifetime.SESSION)
    engine = Engine(Parameters(width=64, height=64, steps=1))
    engine.planes |= {"heat": heat}
    frame, warm = np.zeros((64, 64, 3), np.uint8), np.full((8, 8), 7, np.uint8)
    assert engine.set_plane("heat", warm) == {}
    np.testing.assert_array_equal(seen_by(engine, frame)["heat"], warm)
    engine.set_plane("heat", None)
    assert "heat" not in seen_by(engine, frame)
    for name, words in [("mask", "reads style_picture, heat"), ("heat", "give uint8")]:
        with pytest.raises(ParameterError, match=words):
            engine.set_plane(name, frame)


def test_a_style_picture_is_the_style_from_the_next_frame_on() -> None:
    engine = Engine(Parameters(width=64, height=64, steps=1))
    frame = np.zeros((64, 64, 3), np.uint8)
    picture = np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8)
    changes = engine.set_plane("style_picture", picture)
    engine.process(frame, 1)
    assert engine.parameters.style_vector == changes["style_vector"]
    engine.set_plane("style_picture", None)
    engine.process(frame, 2)
    assert engine.parameters.style_vector is None
