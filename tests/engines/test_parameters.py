"""Parameters refuse what cannot work, and say which field and what to do."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.engines.api import TABLE, ParameterError, Parameters, declare
from driftcam.engines.api.fields import CHECKPOINT, EMBEDDED, MODELS, Number
from driftcam.engines.api.parameters import NOISE_MODES, fields_json
from driftcam.engines.api.styles import STYLE_NAMES, STYLES, match_text, parse_styles


@pytest.mark.parametrize(
    ("change", "field", "advice"),
    [
        ({"styles": (("", 1),)}, "styles", "a name"),
        ({"styles": (("x" * 65, 1),)}, "styles", "a name"),
        ({"styles": ((7, 1),)}, "styles", "a name"),
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
        ({"fit": "crop"}, "fit", "cover"),
        ({"negative_prompt": None}, "negative_prompt", "a text"),
        ({"negative_prompt": "x" * 5000}, "negative_prompt", "letters"),
        ({"travel": -1}, "travel", "a number"),
        ({"extras": ()}, "extras", "no such parameter"),
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


@pytest.mark.parametrize(
    ("change", "field", "advice"),
    [
        ({"styles": (("weave", 1), ("stary-nigt", 1))}, "styles", "starry-night"),
        ({"prompts": (("zzzz", 1),)}, "prompt", "names"),
        ({"negative_prompt": "blurry"}, "negative_prompt", "Stable Diffusion"),
    ],
)
def test_the_embedded_model_says_what_it_cannot_do(change, field, advice):
    parameters = Parameters().replace(**change)
    with pytest.raises(ParameterError) as caught:
        parameters.check_model(EMBEDDED)
    assert (caught.value.field, advice in str(caught.value)) == (field, True)
    parameters.check_model(CHECKPOINT)


def test_a_checkpoint_is_not_bound_to_the_styles_of_the_embedded_model_but_takes_no_picture():
    Parameters(styles=(("oil painting by nobody", 1),), freedom=1.0).check_model(CHECKPOINT)
    with pytest.raises(ParameterError, match=r"style_vector.*embedded"):
        Parameters(style_vector=(0.0,) * TABLE["style_vector"].length).check_model(CHECKPOINT)


def test_style_weights_are_normalised_and_repeated_names_added():
    parameters = Parameters(styles=(("weave", 2), ("fresco", 1), ("weave", 1)))
    assert dict(parameters.styles) == {"weave": 0.75, "fresco": 0.25}


def test_parameters_survive_json_and_cannot_be_changed():
    parameters = Parameters(steps=4, style_vector=tuple(range(TABLE["style_vector"].length)))
    assert Parameters.from_dict(parameters.to_dict()) == parameters
    with pytest.raises(dataclasses.FrozenInstanceError):
        parameters.steps = 2  # type: ignore[misc]


@given(st.dictionaries(st.sampled_from([*TABLE, "extras"]), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.lists(st.tuples(st.sampled_from(STYLE_NAMES), st.floats()), max_size=3)), max_size=4))  # fmt: skip
def test_any_change_is_taken_or_refused_with_a_field(change):
    try:
        parameters = Parameters().replace(**change)
    except ParameterError as error:
        assert error.field and error.advice
    else:
        assert Parameters.from_dict(parameters.to_dict()) == parameters


def test_the_table_is_what_the_class_says_and_each_row_is_whole():
    own = [each for each in dataclasses.fields(Parameters) if each.name != "extras"]
    assert [each.name for each in own] == list(TABLE)
    for each in own:
        field = TABLE[each.name]
        assert (each.name, each.metadata["field"]) == (field.name, field)
        assert getattr(Parameters(), each.name) == field.default
        assert field.label and field.group and field.about and field.example
        assert set(field.models) <= set(MODELS)


def test_the_table_goes_through_json_with_the_same_names_for_every_kind():
    table = json.loads(json.dumps(fields_json()))
    assert [each["name"] for each in table] == list(TABLE)
    assert len({tuple(sorted(each)) for each in table}) == 1
    by_name = {each["name"]: each for each in table}
    assert by_name["noise"]["choices"] == list(NOISE_MODES)
    assert by_name["noise"]["choice_labels"] == list(NOISE_MODES.values())
    assert by_name["styles"]["choices"] == list(STYLE_NAMES)
    for each in table:
        if each["kind"] in ("number", "integer"):
            assert each["low"] <= each["default"] <= each["high"] and each["step"] > 0
        Parameters().replace(**{each["name"]: each["default"]})


def test_every_value_at_the_ends_of_its_range_is_taken_and_none_beyond():
    for name, field in TABLE.items():
        if field.kind in ("number", "integer"):
            for value in (field.low, field.high):
                assert getattr(Parameters().replace(**{name: value}), name) == value
            for value in (field.low - field.step, field.high + field.step):
                with pytest.raises(ParameterError):
                    Parameters().replace(**{name: value})


@pytest.fixture
def afterglow():
    """A parameter of a condition that lives elsewhere."""
    field = Number("afterglow", "Afterglow", "Look", "how much of the picture before stays", default=0.2)
    take_away = declare(field)
    yield field
    take_away()
    assert "afterglow" not in TABLE


def test_a_field_declared_elsewhere_is_a_parameter_like_all_others(afterglow):
    parameters = Parameters()
    assert parameters.afterglow == afterglow.default
    changed = parameters.replace(afterglow=0.5, steps=3)
    assert (changed.afterglow, changed.steps, parameters.afterglow) == (0.5, 3, afterglow.default)
    assert changed != parameters.replace(steps=3)
    assert changed.replace(afterglow=afterglow.default) == parameters.replace(steps=3)
    assert changed.to_dict()["afterglow"] == 0.5
    assert Parameters.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed
    assert pickle.loads(pickle.dumps(changed)) == copy.deepcopy(changed) == changed
    with pytest.raises(ParameterError, match=r"afterglow: 2 .* from 0 to 1"):
        parameters.replace(afterglow=2)
    with pytest.raises(ParameterError, match="did you mean afterglow"):
        parameters.replace(aftreglow=0.1)
    with pytest.raises(AttributeError):
        _ = parameters.aftreglow


def test_what_was_declared_elsewhere_is_unknown_once_it_is_taken_away():
    take_away = declare(Number("afterglow", "Afterglow", "Look", "how much stays", default=0.2))
    take_away()
    with pytest.raises(ParameterError, match="afterglow"):
        Parameters().replace(afterglow=0.5)
    assert "afterglow" not in Parameters().to_dict()


def test_a_name_belongs_to_one_field_and_a_default_to_its_range(afterglow):
    declare(afterglow)  # once more, as a forked process does
    with pytest.raises(ValueError, match="strength"):
        declare(Number("strength", "Strength", "Look", "another one", default=0.5))
    with pytest.raises(ParameterError, match="afterglow"):
        Number("afterglow", "Afterglow", "Look", "too much", default=2.0)


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
