"""An engine that is quick and misbehaves on demand. The worker loads it as `tests.daemon.standin:Engine`.

It gives back the negative of the frame, after `STANDIN_DELAY_MS` from the environment. The seed asks for trouble.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cv2
import numpy as np

from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.fields import EMBEDDED
from driftcam.engines.api.model_files import ModelFiles
from driftcam.engines.api.planes import KNOWN, NO_PLANES, STYLE_PICTURE, Plane, Planes, no_planes
from driftcam.engines.api.shift import NO_SHIFT, Shift

REFUSED, HANGS, DIES, RAISES, DIES_AT_START, HUNGRY = 101, 102, 103, 104, 105, 106
NAME = "tests.daemon.standin:Engine"


@dataclass(frozen=True)
class Stylised:
    image: np.ndarray
    pts: int
    index: int
    skipped: bool = False
    planes: Planes = field(default_factory=no_planes)


class Engine:
    planes: ClassVar[dict[str, Plane]] = {name: KNOWN[name] for name in (STYLE_PICTURE, "mask", "depth")}

    def __init__(self, parameters: Parameters, model: ModelFiles | None = None) -> None:
        if model is not None and model.weights is not None:
            raise ParameterError("weights", str(model.weights), "the file is damaged")
        self._check(parameters)
        if parameters.seed == DIES_AT_START:
            raise MemoryError("no memory left on the device")
        self._parameters, self._count, self._shift = parameters, 0, NO_SHIFT
        self._image = np.empty((0, 0, 3), np.uint8)
        self._delay = float(os.environ.get("STANDIN_DELAY_MS", "0")) / 1000

    def process(self, frame: np.ndarray, pts: int, planes: Planes = NO_PLANES) -> list[Stylised]:
        if self._parameters.seed == HANGS:
            time.sleep(3600)
        if self._parameters.seed == DIES:
            os._exit(1)
        if self._parameters.seed == RAISES:
            raise ValueError("the picture made the engine stumble")
        if self._parameters.seed == HUNGRY:
            resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
            np.zeros(2**33, np.uint8)
        time.sleep(self._delay)
        self._image[...] = 0  # a result is only valid until the next call: whoever kept it sees black
        self._image = cv2.resize(255 - frame, (self._parameters.width, self._parameters.height))
        self._count += 1
        if self._shift:  # a grey that tells by how much
            self._image[...] = round(128 + 100 * self._shift["strength"])
        if "depth" in planes:
            self._image[...] = (planes["depth"] >> 8)[..., None]
        alpha = {"alpha": planes["mask"]} if "mask" in planes else NO_PLANES
        return [Stylised(self._image, pts, self._count - 1, planes=alpha)]

    @staticmethod
    def _check(parameters: Parameters) -> None:
        parameters.check_model(EMBEDDED)

    def flush(self) -> list[Stylised]:
        return []

    def update(self, parameters: Parameters) -> None:
        self._check(parameters)
        if parameters.seed == REFUSED:
            raise ParameterError("seed", parameters.seed, "this engine does not like it")
        self._parameters = parameters

    def shift(self, shift: Shift) -> None:
        self._shift = shift

    def set_plane(self, name: str, picture: np.ndarray | None) -> dict[str, Any]:
        if name != STYLE_PICTURE:
            raise ParameterError("plane", name, f"for a whole session this engine reads: {STYLE_PICTURE}")
        vector = None if picture is None else tuple(float(x) for x in np.resize(picture.mean((0, 1)), 100))
        return {"style_vector": vector}

    def insight(self) -> dict:
        return {"flow": None, "noise": "iVBORw0KGgo=", "cut": False}

    def report(self) -> dict:
        histogram = {"bounds": [1.0, 2.0], "stages": {"frame": {"counts": [self._count, 0, 1], "sum": 5.0}}}
        stages = {"frame": {"p50": 1.0, "p95": 2.0}}
        return {"backend": "stand-in", "frames": self._count, "stages_ms": stages, "histogram_ms": histogram}
