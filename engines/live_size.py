"""The largest size at which this machine stylises live (`size = auto`): whole frames of several sizes are timed.

A frame is everything that the engine does for one: scaling, flow, noise and all networks, of a picture that moves.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.engine import Engine
from driftcam.engines.other_work import CALM, OtherWork

SIDES = (256, 320, 384, 448, 512, 640, 768)  # of a square; other shapes get as many pixels
FPS = 20
SHARE = 0.7  # of a frame's time; cameras, encoders and whoever watches need the rest of the same cores
ENOUGH = 3.0  # seconds after which no further size is tried
WARM_UP, FRAMES = 2, 5

Timer = Callable[[int], float]
"""Seconds that a frame of side² pixels takes."""


@dataclass(frozen=True)
class LiveSize:
    """What was measured: `seconds` a frame by side, and the largest `side` that is quick enough, or the smallest.

    `others`: what other processes had of the processors meanwhile, 0 to 1, or None where the system does not say.
    """

    side: int
    seconds: Mapping[int, float]
    others: float | None = None

    @property
    def lasts(self) -> bool:
        """Whether it may be taken at the next start: else the moment may have been too busy for more."""
        return self.quick and self._calm

    @property
    def _calm(self) -> bool:
        return self.others is None or self.others <= CALM

    @property
    def quick(self) -> bool:
        """Whether it runs at `FPS` frames a second."""
        return self.seconds[self.side] <= SHARE / FPS

    def __str__(self) -> str:
        told = ", ".join(f"{side}² {seconds * 1e3:.0f} ms" for side, seconds in sorted(self.seconds.items()))
        reason = f"the largest for {FPS} frames a second" if self.quick else f"too slow for {FPS} frames a second"
        busy = "" if self._calm else f", while others had {self.others:.0%} of this machine; the next start tries again"
        return f"{self.side}², {reason}; a frame takes: {told}{busy}"


def measure(open_engine: Callable[[Parameters], Engine], parameters: Parameters) -> LiveSize:
    """Time the engines that `open_engine` makes, with `parameters` at other sizes. Raises `ParameterError`.

    Takes `ENOUGH` seconds and at most one more size, beside what the first engine takes to be ready.
    """

    def seconds(side: int) -> float:
        still = parameters.replace(width=side, height=side, similarity_threshold=0.0)
        return frame_seconds(open_engine(still).step, side)

    others, began = OtherWork(), time.monotonic()
    found = search(seconds)
    return replace(found, others=others.share(time.monotonic() - began))


def search(timer: Timer, sides: Sequence[int] = SIDES, clock: Callable[[], float] = time.monotonic) -> LiveSize:
    """The largest of `sides`, which grow, that `timer` finds quick enough.

    The next side to be tried is the largest that would be quick enough if time grew with the pixels; what does not
    depend on them makes it grow less, so that the one after it is tried as well.
    """
    seconds = {sides[0]: timer(sides[0])}
    began, most = clock(), SHARE / FPS
    quick, slow = 0, len(sides)  # the largest that is quick enough, as far as is known, and the smallest that is not
    if seconds[sides[0]] > most:
        return LiveSize(sides[0], seconds)
    while slow - quick > 1 and clock() - began < ENOUGH:
        a_pixel = seconds[sides[quick]] / sides[quick] ** 2
        likely = [i for i in range(quick + 1, slow) if a_pixel * sides[i] ** 2 <= most]
        following = likely[-1] if likely else quick + 1
        seconds[sides[following]] = timer(sides[following])
        if seconds[sides[following]] <= most:
            quick = following
        else:
            slow = following
    return LiveSize(sides[quick], seconds)


def frame_seconds(step: Callable[[np.ndarray], np.ndarray], side: int) -> float:
    """The median of a few frames of a scene that the camera pans over."""
    texture = np.random.default_rng(0).integers(0, 255, (side // 16, side // 16 + FRAMES + WARM_UP, 3), np.uint8)
    scene = np.kron(texture, np.ones((16, 16, 1), np.uint8))
    took = []
    for number in range(WARM_UP + FRAMES):
        frame = np.ascontiguousarray(scene[:side, 4 * number : 4 * number + side])
        began = time.perf_counter()
        step(frame)
        took.append(time.perf_counter() - began)
    return statistics.median(took[WARM_UP:])


class Memory:
    """What was measured before on this machine, so that the next start need not measure again.

    Args:
        folder: one file for each thing that was measured; one that cannot be written is no error.
        engine: what runs the networks, and which ones.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self._folder, self._engine = folder, engine

    def path(self, parameters: Parameters) -> Path:
        """The file for all streams that cost the same."""
        words = " | ".join([*_machine(), self._engine, *(f"{name} {getattr(parameters, name)}" for name in _COSTS)])
        return self._folder / f"live-size-{hashlib.sha256(words.encode()).hexdigest()[:16]}.json"

    def load(self, parameters: Parameters) -> LiveSize | None:
        """None where nothing was measured, or the file says nothing that can be."""
        try:
            values = json.loads(self.path(parameters).read_text())
            seconds = {int(side): float(value) for side, value in values["seconds"].items()}
            return LiveSize(int(values["side"]), seconds) if values["side"] in seconds else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, parameters: Parameters, found: LiveSize) -> None:
        """Written beside and renamed, so that no reader sees half a file."""
        path = self.path(parameters)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"side": found.side, "seconds": dict(found.seconds)}))
            temporary.replace(path)
        except OSError:
            pass


_COSTS = ("steps", "guidance", "guidance_scale", "noise", "memory")


def _machine() -> list[str]:
    """What a frame's time depends on beside the engine."""
    try:
        driftcam = version("driftcam")
    except PackageNotFoundError:
        driftcam = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    processor = next((line for line in lines if line.startswith(("model name", "CPU part"))), platform.processor())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [driftcam, platform.machine(), processor, f"{cores} cores"]
