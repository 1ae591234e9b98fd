"""What a plane is, and what is not one."""

from __future__ import annotations

import numpy as np
import pytest

from driftcam.engines.api import ParameterError, planes
from driftcam.engines.api.planes import KNOWN, Lifetime, PixelFormat, Plane, Scaling


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
