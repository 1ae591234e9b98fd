"""The way from one set of parameters to another, when a change is to take time (`Parameters.travel`)."""

from __future__ import annotations

from collections.abc import Sequence

from driftcam.engines.api.parameters import MAX_PROMPTS, Parameters
from driftcam.engines.conditions.prompt import words

NUMBERS = ("strength", "freedom", "guidance_scale", "style_image_weight", "anchor_strength")
TRAVELS = frozenset({*NUMBERS, "styles", "prompts", "style_vector", "anchors"})
"""Names of the parameters that there is a way between."""

Pairs = tuple[tuple[str, float], ...]


class Travel:
    """Styles, prompts and the style of a picture are blended, numbers go straight; the rest is changed at once.

    Args:
        start, end: parameters now and afterwards.
        pts: time of the first frame of the way, in ns; it takes `end.travel` seconds.
    """

    def __init__(self, start: Parameters, end: Parameters, pts: int) -> None:
        self.start, self.end = start, end
        self._pts, self._ns = pts, end.travel * 1e9

    def at(self, pts: int) -> Parameters | None:
        """The parameters for the frame at `pts`, None where it is at its end or beyond."""
        share = (pts - self._pts) / self._ns
        return None if share >= 1 else between(self.start, self.end, max(0.0, share))


def differs(start: Parameters, end: Parameters) -> bool:
    """Whether there is anything between the two to travel through."""
    return any(getattr(start, name) != getattr(end, name) for name in TRAVELS)


def between(start: Parameters, end: Parameters, share: float) -> Parameters:
    """`end`, of which what can be blended is only so far on its way from `start`, 0 to 1."""
    changes: dict[str, object] = {
        name: (1 - share) * getattr(start, name) + share * getattr(end, name) for name in NUMBERS
    }
    changes["styles"] = _blend(start.styles, end.styles, share)
    if start.prompts or end.prompts:
        changes["prompts"] = _heaviest(_blend(words(start), words(end), share))
    changes |= _style_of_picture(start, end, share) | _kept_looks(start, end, share)
    return end.replace(**changes)


def _blend(start: Pairs, end: Pairs, share: float) -> Pairs:
    """Weights of all names."""
    weights: dict[str, float] = {}
    for pairs, part in ((_normalised(start), 1 - share), (_normalised(end), share)):
        for name, weight in pairs:
            weights[name] = weights.get(name, 0.0) + part * weight
    return tuple((name, weight) for name, weight in weights.items() if weight > 0)


def _normalised(pairs: Pairs) -> Pairs:
    total = sum(weight for _, weight in pairs)
    return tuple((name, weight / total) for name, weight in pairs)


def _heaviest(prompts: Pairs) -> Pairs:
    """As many as there may be at once."""
    return tuple(sorted(prompts, key=lambda pair: -pair[1])[:MAX_PROMPTS])


def _style_of_picture(start: Parameters, end: Parameters, share: float) -> dict[str, object]:
    """The style vector and its weight; where one side has none its weight there is 0."""
    if start.style_vector is None and end.style_vector is None:
        return {}
    weights = [p.style_image_weight if p.style_vector is not None else 0.0 for p in (start, end)]
    ends: Sequence[tuple[float, ...] | None] = (start.style_vector, end.style_vector)
    first, last = ends[0] or ends[1], ends[1] or ends[0]
    assert first is not None and last is not None
    vector = tuple((1 - share) * a + share * b for a, b in zip(first, last, strict=True))
    return {"style_vector": vector, "style_image_weight": (1 - share) * weights[0] + share * weights[1]}


def _kept_looks(start: Parameters, end: Parameters, share: float) -> dict[str, object]:
    """The anchors and how far they hold; where one side has none they hold nothing there."""
    if start.anchors == end.anchors:
        return {}
    holds = [p.anchor_strength if p.anchors else 0.0 for p in (start, end)]
    first, last = start.anchors or end.anchors, end.anchors or start.anchors
    pairs = [(first[min(k, len(first) - 1)], last[min(k, len(last) - 1)]) for k in range(max(len(first), len(last)))]
    anchors = tuple(tuple((1 - share) * a + share * b for a, b in zip(*pair, strict=True)) for pair in pairs)
    return {"anchors": anchors, "anchor_strength": (1 - share) * holds[0] + share * holds[1]}
