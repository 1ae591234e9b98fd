"""A condition: what a network is told besides the latent and the time, and all that belongs to it in one place.

A model has a list of conditions. Its network's inputs and their order, what is exported, the planes that are asked for
and the state that a stream carries follow from that list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends.network import Shape
from driftcam.engines.carried import State
from driftcam.engines.diffusion.frame import Rows


@dataclass(frozen=True)
class Seen:
    """One frame, as conditions see it.

    Attributes:
        latent: (1, C, h, w), the encoded picture.
        noises: (fields, C, h, w), standard normal; the first is the one that the frame starts from.
        planes: by name (`engines.api.planes`): those that came with the frame, of the size of the networks' picture and
            in its place; and those that stand for the session, as they were given.
        carried: what the stream carries, by the state's name; not there after a cut, say.
    """

    latent: Tensor
    noises: Tensor
    planes: Mapping[str, np.ndarray] = field(default_factory=dict)
    carried: Mapping[str, Tensor] = field(default_factory=dict)


Bound = Callable[[Seen], Rows]
"""What a condition tells of a frame, under given parameters."""


class Condition:
    """Derive from it and override what applies.

    Attributes:
        inputs: shape of each network input that it adds (`backends.network.Shape`), in the order of the network's
            arguments behind the latent and the time.
        parameters: names of those that it reads (`engines.api.parameters.TABLE`): another value of one binds it anew.
        planes: names of the planes that it reads (`engines.api.planes.declare` for its own).
        carried: states that it reads and leaves.
    """

    inputs: Mapping[str, Shape] = {}
    parameters: tuple[str, ...] = ()
    planes: tuple[str, ...] = ()
    carried: tuple[State, ...] = ()

    def prepare(self, parameters: Parameters, size: tuple[int, int]) -> None:
        """Do ahead what `bind` needs, such as encoding a prompt; beside the running stream, from any thread.

        `size`: (height, width) of the networks' pictures in pixels.
        """

    def ready(self, parameters: Parameters, size: tuple[int, int]) -> bool:
        """Whether `prepare` has nothing left to do."""
        return True

    def bind(self, parameters: Parameters, size: tuple[int, int]) -> Bound:
        """What it tells of each frame from now on. Quick where it is `ready`."""
        raise NotImplementedError

    def negative(self, rows: Rows) -> Rows:
        """Its own inputs of `rows`, a batch, as the unconditional branch of guidance sees them; row by row."""
        return {name: rows[name] for name in self.inputs}

    def leaves(self, latent: Tensor) -> Rows:
        """Values for its carried states from a finished frame's latent (C, h, w)."""
        return {}
