"""Parameters as they come from outside, and as they are shown there. Pure."""

from __future__ import annotations

from typing import Any

from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.parameters import MAX_PROMPT
from driftcam.engines.api.styles import from_prompt


def changed(parameters: Parameters, changes: object) -> Parameters:
    """`parameters` with `changes` as they come from outside: fields of `Parameters`, and `prompt`.

    Raises `ParameterError` naming the field; nothing is changed then.
    """
    if not isinstance(changes, dict) or not changes:
        raise ParameterError("changes", changes, "send an object of parameters and their new values")
    values: dict[str, Any] = dict(changes)
    if "styles" in values:
        values.setdefault("prompts", ())  # who picks a style has done with the words
    if "prompt" in values:
        prompt = values.pop("prompt")
        if not isinstance(prompt, str) or not 0 < len(prompt) <= MAX_PROMPT:
            raise ParameterError("prompt", prompt, f"give a text of 1 to {MAX_PROMPT} letters")
        values |= from_prompt(prompt)
    return parameters.replace(**values)


def parameters_json(parameters: Parameters) -> dict[str, Any]:
    """For people: without the 100 numbers of a style picture."""
    values = parameters.to_dict()
    values["style_picture"] = values.pop("style_vector") is not None
    return values
