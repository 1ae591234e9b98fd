"""Parameters refuse what cannot work, and say which field and what to do."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.styles import STYLE_NAMES, STYLES, match_text, parse_styles


@pytest.mark.parametrize(
    ("change", "field", "advice"),
    [
        ({"styles": (("stary-nigt", 1),)}, "styles", "starry-night"),
        ({"styles": ()}, "styles", "at least one"),
        ({"styles": (("weave", 0.0),)}, "styles", "above 0"),
        ({"styles": 5}, "styles", "pairs"),
        ({"strength": 1.5}, "strength", "from 0 to 1"),
        ({"strength": math.nan}, "strength", "from 0 to 1"),
        ({"strength": 10**400}, "strength", "from 0 to 1"),
        ({"seed": 10**400}, "seed", "whole number"),
        ({"strength": math.inf}, "strength", "from 0 to 1"),
        ({"freedom": "much"}, "freedom", "a number"),
        ({"steps": 0}, "steps", "whole number from 1 to 8"),
        ({"steps": 2.5}, "steps", "whole number"),
        ({"width": 380}, "width", "384"),
        ({"height": 5000}, "height", "to 1024"),
        ({"guidance": "fulll"}, "guidance", "full"),
        ({"noise": "wraped"}, "noise", "warped"),
        ({"style_vector": (1.0, 2.0)}, "style_vector", "100"),
        ({"seed": True}, "seed", "whole number"),
        ({"strenght": 0.5}, "strenght", "strength"),
    ],
)
def test_a_bad_value_names_the_field_and_what_to_do(change, field, advice):
    with pytest.raises(ParameterError) as caught:
        Parameters().replace(**change)
    assert caught.value.field == field
    assert advice in str(caught.value)


def test_style_weights_are_normalised_and_repeated_names_added():
    parameters = Parameters(styles=(("weave", 2), ("fresco", 1), ("weave", 1)))
    assert dict(parameters.styles) == {"weave": 0.75, "fresco": 0.25}


def test_parameters_survive_json_and_cannot_be_changed():
    parameters = Parameters(steps=4, style_vector=tuple(range(100)))
    assert Parameters.from_dict(parameters.to_dict()) == parameters
    with pytest.raises(dataclasses.FrozenInstanceError):
        parameters.steps = 2  # type: ignore[misc]


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Parameters)]), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.lists(st.tuples(st.sampled_from(STYLE_NAMES), st.floats()), max_size=3)), max_size=4))  # fmt: skip
def test_any_change_is_taken_or_refused_with_a_field(change):
    try:
        parameters = Parameters().replace(**change)
    except ParameterError as error:
        assert error.field and error.advice
    else:
        assert Parameters.from_dict(parameters.to_dict()) == parameters


def test_there_are_at_least_twenty_styles_with_unique_names():
    assert len(STYLES) >= 20
    assert len(set(STYLE_NAMES)) == len(STYLES)


def test_style_text_is_parsed_with_weights():
    assert parse_styles("weave:2, fresco") == (("weave", 2.0), ("fresco", 1.0))
    for bad in ("weave:much", " , "):
        with pytest.raises(ParameterError) as caught:
            parse_styles(bad)
        assert caught.value.field == "style"


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("a starry night over the sea", "starry-night"),
        ("Van Gogh", "starry-night"),
        ("japanese ocean print", "great-wave"),
        ("watercolor", "morning-mist"),
        ("church window", "stained-glass"),
        ("pencill sketch", "coloured-pencil"),
    ],
)
def test_free_text_finds_the_style_that_it_describes(text, best):
    matched = match_text(text)
    assert max(matched, key=lambda pair: pair[1])[0] == best
    Parameters(styles=matched)


def test_text_without_a_known_word_is_refused_with_the_names():
    with pytest.raises(ParameterError, match="starry-night"):
        match_text("qqq zzz")
