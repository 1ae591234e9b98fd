"""The words after --source and --sink."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.config.specs import (
    OPTIONS,
    SINKS,
    SOURCES,
    Spec,
    area_option,
    device_number,
    fps_option,
    parse_sink,
    parse_source,
    size_option,
)
from driftcam.engines.api import ParameterError


def test_a_camera_with_wishes() -> None:
    spec = parse_source("webcam:/dev/video2?size=1280x720&fps=29.97&format=MJPG")
    assert spec == Spec("webcam", "/dev/video2", {"size": "1280x720", "fps": "29.97", "format": "MJPG"})
    assert (device_number(spec.argument), size_option(spec), fps_option(spec)) == (2, (1280, 720), 29.97)
    assert size_option(parse_source("webcam")) is None


def test_paths_and_addresses_may_hold_question_marks() -> None:
    assert parse_source("clip:what?&how=1.mp4") == Spec("clip", "what?&how=1.mp4")
    assert parse_source("url:https://host/a?size=big&x=1").argument == "https://host/a?size=big&x=1"


def test_a_part_of_a_screen() -> None:
    assert area_option(parse_source("screen:2?area=800x600+10+20")) == (800, 600, 10, 20)


WORDS = st.one_of(
    st.text(max_size=40),
    st.builds(
        lambda kind, argument, options: kind + argument + "?" + "&".join(options),
        st.sampled_from([*SOURCES, *SINKS]),
        st.sampled_from(["", ":", ":0", ":/dev/video3", ":x", ":rtsp://h"]),
        st.lists(
            st.builds("{}={}".format, st.sampled_from(["size", "fps", "area", "format", ""]), st.text(max_size=9))
        ),
    ),
)


@given(WORDS)
@pytest.mark.parametrize("parse", [parse_source, parse_sink])
def test_any_words_are_understood_or_refused_and_mean_the_same_when_written_again(parse, text: str) -> None:
    try:
        spec = parse(text)
    except ParameterError:
        return
    assert parse(str(spec)) == spec
    size_option(spec), fps_option(spec), area_option(spec), spec.kind in OPTIONS
