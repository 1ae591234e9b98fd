"""How an engine shares the card's memory: a decision, without a card."""

from __future__ import annotations

import math

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import UNIT

RESERVE = 256 << 20  # bytes left for frames, other contexts and the desktop
_MB = 1e6


def resident_weights(*, free: int, weights: int, scratch: int, largest: int, wanted: int, network: str) -> int:
    """Bytes of weights that stay on the card; the others are streamed from the computer's memory.

    Args:
        free: bytes.
        weights: bytes of all weights that can be streamed.
        scratch: bytes that the largest picture of the engine's range works with.
        largest, wanted: the size of that picture and of ours, in any unit; working memory grows with it.
        network: for the message.

    Raises:
        ParameterError: even without any weight there is no room; says how much is missing and which size fits.
    """
    needed = math.ceil(scratch * wanted / largest)
    room = free - RESERVE - needed
    if room >= 0:
        return min(weights, room)
    missing = f"{-room / _MB:.0f} MB are missing ({(needed + RESERVE) / _MB:.0f} MB needed, {free / _MB:.0f} MB free)"
    raise ParameterError("GPU memory", f"{free / _MB:.0f} MB free", f"{network}: {missing}; {_smaller(free, needed)}")


def _smaller(free: int, needed: int) -> str:
    """The largest share of the picture's sides that fits, in words."""
    room = free - RESERVE
    if room <= 0:
        return "close other programs that use the card"
    share = math.sqrt(room / needed)
    return f"a size of at most {share:.0%} of this on each side fits (multiples of {UNIT})"
