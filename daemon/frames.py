"""Pictures on their way through the daemon, and the shape they get on it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from driftcam.engines.api.fitting import Box, blacken_bars, fit_image, fit_plane, place_in
from driftcam.engines.api.planes import ALPHA, Plane, Planes, Scaling, no_planes
from driftcam.engines.api.shift import Shift, no_shift


@dataclass(frozen=True)
class Picture:
    """A frame from a source.

    Attributes:
        image: RGB, (H, W, 3) uint8, or BGRA, (H, W, 4) uint8, until it is fitted.
        pts: its time in ns, strictly increasing within a run; the capture time of a live source.
        captured: CLOCK_MONOTONIC ns at which it was there, for measuring latency.
        given_pts: what whoever gave it calls its time, whatever clock that is of; a client of the bus knows it by that.
        place: where the source's picture lies between bars, None where there are none.
        planes: beside the image, by name.
        shift: by how much it moves parameters.
    """

    image: np.ndarray
    pts: int
    captured: int
    given_pts: int = 0
    place: Box | None = None
    planes: Planes = field(default_factory=no_planes)
    shift: Shift = field(default_factory=no_shift)


@dataclass(frozen=True)
class Result:
    """A stylised picture and the frame it was made from, at the same size.

    Attributes:
        image: RGB, (height, width, 3) uint8.
        source: the frame, as the engine saw it.
        sequence: counts the results of a run from 1.
        skipped: the similarity gate repeated the picture before.
        process_ms: time in the engine.
        arrived: CLOCK_MONOTONIC ns at which the daemon had it.
        planes: beside the image, by name.
    """

    image: np.ndarray
    source: Picture
    sequence: int
    skipped: bool
    process_ms: float
    arrived: int
    planes: Planes = field(default_factory=no_planes)


def fitted(
    picture: Picture, width: int, height: int, fit: str, wanted: Mapping[str, Plane] = MappingProxyType({})
) -> Picture:
    """`picture` as RGB at width × height, as `Parameters.fit` says, with the planes that are `wanted`.

    The same one if it is so already. Without a plane `alpha` it is that of a BGRA picture.
    """
    import cv2

    if picture.place is not None and picture.image.shape[:2] != (height, width):
        picture = _without_bars(picture)  # the size has changed since it was fitted
    image = fit_image(picture.image, width, height, fit)
    if image is picture.image and image.shape[2] == 3 and not picture.planes:
        return picture
    planes = {}
    if ALPHA in wanted and image.shape[2] == 4:
        planes[ALPHA] = cv2.extractChannel(image, 3)
    if wanted and picture.planes:
        size = picture.image.shape[1], picture.image.shape[0]
        for name, plane in picture.planes.items():
            if name in wanted:
                nearest = wanted[name].scaling is Scaling.NEAREST
                planes[name] = fit_plane(plane, size, width, height, fit, nearest=nearest)
    if image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    place = picture.place or place_in(picture.image, width, height, fit)
    return dataclasses.replace(picture, image=image, planes=planes, place=place)


def _without_bars(picture: Picture) -> Picture:
    assert picture.place is not None
    planes = {name: picture.place.of(plane) for name, plane in picture.planes.items()}
    return dataclasses.replace(picture, image=picture.place.of(picture.image), planes=planes, place=None)


def keep_bars(result: Result) -> None:
    """What lies beside the frame in its picture stays black: the model has painted there, too."""
    if (place := result.source.place) is None:
        return
    (height, width), (high, wide) = result.image.shape[:2], result.source.image.shape[:2]
    if (height, width) != (high, wide):  # it was made while the size changed
        x, y = width / wide, height / high
        place = Box(*(round(side * scale) for side, scale in zip(place, (x, y, x, y), strict=True)))
    blacken_bars(result.image, place)
