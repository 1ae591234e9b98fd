"""What a checkpoint is told in words."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends.network import Shape
from driftcam.engines.conditions.base import Bound, Condition
from driftcam.engines.diffusion.frame import Rows

_KEPT = 16
# Before the names of the inputs that a negative prompt replaces: what a frame of guidance brings besides its own.
_NEGATIVE = "negative "


class PromptEncoder(Protocol):
    """What makes numbers of words: `engines.models.stable_diffusion.checkpoint.Checkpoint`."""

    def condition(self, prompt_weights: Sequence[tuple[str, float]], size: tuple[int, int]) -> Rows:
        """One row of each input for a blend of prompts; a prompt that was encoded before takes no time."""
        ...

    def negative(self, text: str) -> Rows:
        """One row of those inputs that a negative prompt replaces."""
        ...


class Prompt(Condition):
    """Prompts, or the names of the styles where there are none, and a negative prompt for guidance.

    Args:
        inputs: of the network, for its words.
        encoder: takes long for words that it sees the first time.
    """

    parameters = ("prompts", "styles", "negative_prompt", "guidance")

    def __init__(self, inputs: Mapping[str, Shape], encoder: PromptEncoder) -> None:
        self.inputs = inputs
        self._encoder = encoder
        self._kept: OrderedDict[Any, Rows] = OrderedDict()

    def prepare(self, parameters: Parameters, size: tuple[int, int]) -> None:
        key = _key(parameters, size)
        if key not in self._kept:
            self._kept[key] = self._rows(parameters, size)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def ready(self, parameters: Parameters, size: tuple[int, int]) -> bool:
        return _key(parameters, size) in self._kept

    def bind(self, parameters: Parameters, size: tuple[int, int]) -> Bound:
        # Between two blends whose words were encoded others are passed through, which are not worth keeping.
        rows = self._kept.get(_key(parameters, size)) or self._rows(parameters, size)
        return lambda seen: rows

    def negative(self, rows: Rows) -> Rows:
        return {name: rows.get(f"{_NEGATIVE}{name}", rows[name]) for name in self.inputs}

    def _rows(self, parameters: Parameters, size: tuple[int, int]) -> Rows:
        rows = dict(self._encoder.condition(words(parameters), size))
        if (text := _negative_text(parameters)) is not None:
            rows |= {f"{_NEGATIVE}{name}": value for name, value in self._encoder.negative(text).items()}
        return rows


def _key(parameters: Parameters, size: tuple[int, int]) -> tuple[Any, ...]:
    return words(parameters), _negative_text(parameters), size


def words(parameters: Parameters) -> tuple[tuple[str, float], ...]:
    """What a checkpoint reads: the names of the styles where there are no prompts."""
    return parameters.prompts or tuple((name.replace("-", " "), weight) for name, weight in parameters.styles)


def _negative_text(parameters: Parameters) -> str | None:
    """None where guidance does not ask for it."""
    return parameters.negative_prompt if parameters.guidance in ("full", "initialize") else None
