"""What is wrong with a value, from one process to the next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from driftcam.engines.api import ParameterError
from driftcam.engines.api.bus import MAX_JSON


@pytest.mark.parametrize("value", [7, 0.5, True, "loud"])
def test_an_error_comes_out_as_it_went_in(value: object) -> None:
    error = ParameterError("strength", value, "give a number from 0 to 1")
    again = ParameterError.from_wire(json.loads(json.dumps(error.to_wire())))
    assert (again.field, again.value, again.advice) == ("strength", value, "give a number from 0 to 1")
    assert str(again) == str(error) == error.to_wire()["text"]


def test_a_value_that_json_has_no_words_for_goes_as_its_text() -> None:
    assert json.loads(json.dumps(ParameterError("weights", Path("/a"), "x").to_wire()))["value"] == "/a"


def test_however_long_a_value_is_the_error_fits_a_message() -> None:
    error = ParameterError("\x00" * 9999, "\x00" * 99999, "é" * 99999)
    assert len(json.dumps(error.to_wire()).encode()) < MAX_JSON


def test_what_only_has_a_text_still_says_it() -> None:
    assert "the disk is full" in str(ParameterError.from_wire({"text": "the disk is full"}))
