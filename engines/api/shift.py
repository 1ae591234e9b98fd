"""Parameters that are moved for the moment: by how much, and where that brings them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import Number, nearest
from driftcam.engines.api.parameters import TABLE, Parameters

STYLE = "styles."
"""Before the name of a style: its weight, 0 to 1, where it is one of those that are blended."""
Shift = Mapping[str, float]
"""By how much each is moved, in its own unit."""
NO_SHIFT: Shift = MappingProxyType({})


def no_shift() -> Shift:
    """The default of a field."""
    return NO_SHIFT


def targets() -> list[str]:
    """The parameters that can be moved; beside them the weights of styles, see `STYLE`."""
    return [field.name for field in TABLE.values() if isinstance(field, Number) and field.modulates]


def span(target: str) -> float:
    """From the least to the greatest value. Raises `ParameterError` for what cannot be moved."""
    field = TABLE.get(target)
    if isinstance(field, Number) and field.modulates:
        return field.high - field.low
    if target.startswith(STYLE) and TABLE["styles"].check([[target[len(STYLE) :], 1.0]]):
        return 1.0
    raise ParameterError("modulators", target, f"it cannot be moved; {nearest(target, [*targets(), STYLE + 'NAME'])}")


def shifted(parameters: Parameters, shift: Shift) -> Parameters:
    """`parameters` moved by `shift`, each within its range; styles that are not blended stay out."""
    changes: dict[str, Any] = {}
    weights = dict(parameters.styles)
    for target, by in shift.items():
        field = TABLE.get(target)
        if isinstance(field, Number):
            changes[target] = min(max(getattr(parameters, target) + by, field.low), field.high)
        elif (style := target.removeprefix(STYLE)) in weights:
            weights[style] = min(max(weights[style] + by, 0.0), 1.0)
    if any(weights.values()):
        changes["styles"] = tuple(weights.items())
    return parameters.replace(**changes)


def moved(shift: Shift) -> set[str]:
    """Names of the parameters that it moves."""
    return {"styles" if target.startswith(STYLE) else target for target in shift}
