"""What the plugin reads and writes as JSON, against Python's own module and the daemon's parameters."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftcam.daemon.changes import changed
from driftcam.engines.api import Parameters
from driftcam.engines.api.sizes import model_size
from tests.obs_plugin.conftest import ADDRESS

STATE = {
    "session": "live",
    "version": 3,
    "parameters": {
        "styles": [["great-wave", 1.0]],
        "prompts": [["ünïcödé, 🎨", 1.0], ['\\ "', 0.5]],
        "strength": 0.75,
        "freedom": 1e-1,
        "steps": 2,
        "seed": 2**62 + 1,
        "style_vector": None,
    },
    "fields": [
        {"name": "strength", "kind": "number", "low": 0.0, "high": 1.0, "step": 0.01, "default": 0.5, "choices": []},
        {"name": "noise", "kind": "choice", "choices": ["warped", "fixed"], "default": "warped", "unit": ""},
        {"name": "width", "kind": "integer", "low": 64, "high": 1024, "step": 8, "default": 384},
        {"name": "styles", "kind": "styles", "default": [["starry-night", 1.0]]},
    ],
    "fps": 24.5,
    "notice": 'a "line"\n\\ with ünïcödé 🎨',
    "styles": ["dusk", "weave"],
}


def run_fuzz(program: Path, texts: list[bytes], folder: Path) -> list[tuple[bool, str]]:
    file = folder / "texts"
    file.write_bytes(b"".join(struct.pack("<I", len(text)) + text for text in texts))
    done = subprocess.run([program, file], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode(errors="replace").splitlines()
    return [(line[0] == "1", line[2:]) for line in lines]


def valid(text: bytes) -> bool:
    """As the standard says, which Python's module takes less strictly."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(text.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


@pytest.fixture
def fuzz(build: Callable[..., Path]) -> Path:
    return build("fuzz", *ADDRESS)


def test_flipped_and_cut_texts_do_no_harm_and_are_judged_rightly(fuzz: Path, tmp_path: Path) -> None:
    chance = random.Random(1)
    whole = json.dumps(STATE, ensure_ascii=False).encode(), json.dumps(STATE).encode(), json.dumps([STATE]).encode()
    texts = list(whole)
    for _ in range(4000):
        text = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(1, 4)):
            text[chance.randrange(len(text))] = chance.choice(b'{}[]",:\\u0019e+-. \n\x00\xff')
        texts.append(bytes(text[: chance.randrange(len(text) + 1)] if chance.random() < 0.2 else text))
    texts += [b"[" * 100_000, b'{"a":' * 20_000, b"", b" ", b'"\\u12', b'"\\', b"-", b"1e", b"nul", b'{"a"', b"[1,]"]
    answers = run_fuzz(fuzz, texts, tmp_path)
    assert len(answers) == len(texts)
    for text, (said, _) in zip(texts, answers, strict=True):
        try:
            text.decode()
        except ValueError:
            continue  # bytes that are no text: either is fine
        assert said == (valid(text) and len(text) < 50_000), text


@pytest.mark.parametrize(
    ("styles", "expected"),
    [
        ([["dusk", 1.0]], "dusk"),
        ([["dusk", 0.25], ["weave", 0.75]], "dusk:0.25,weave:0.75"),
        ([["\u00fc\u201d", 1]], "ü”"),
        ([], ""),
        ("dusk", ""),
        ([["dusk", 1 / 3], ["weave", 2 / 3]], "dusk:0.3333,weave:0.6667"),
        ([["x" * 63, 1.0]] * 33, ""),
    ],
)
def test_styles_of_a_state_become_the_text_of_the_setting(
    fuzz: Path, tmp_path: Path, styles: Any, expected: str
) -> None:
    text = json.dumps({"parameters": {"styles": styles}}).encode()
    assert run_fuzz(fuzz, [text], tmp_path) == [(True, expected)]


Look = Callable[..., Any]


@pytest.fixture
def look(build: Callable[..., Path]) -> Look:
    """What look_program prints for JSON values; None for an object that does not fit."""

    def look(what: str, *values: Any) -> Any:
        four = (*values, None, None, None)[:4]
        texts = ["-" if value is None else json.dumps(value, ensure_ascii=False) for value in four]
        done = subprocess.run([build("look_program", *ADDRESS), what, *texts], capture_output=True, check=True)
        assert done.stderr == b""
        text = done.stdout.decode().strip()
        return None if text == "-" else json.loads(text)

    return look


FIELDS = [
    {"name": "styles", "kind": "styles", "default": [["starry-night", 1.0]]},
    {"name": "prompts", "kind": "prompts", "default": []},
    {"name": "strength", "kind": "number", "low": 0.0, "high": 1.0, "default": 0.5},
    {"name": "shine", "kind": "number", "low": 0.0, "high": 5.0, "default": 2.0},
    {"name": "seed", "kind": "integer", "low": 0, "high": 2**63 - 1, "default": 0},
    {"name": "noise", "kind": "choice", "choices": ["warped", "fixed"], "default": "warped"},
    {"name": "width", "kind": "integer", "low": 64, "high": 512, "default": 384},
    {"name": "vector", "kind": "vector", "default": None},
]
STATE_BEFORE = {
    "styles": [["dusk", 1.0]],
    "prompts": [],
    "strength": 0.5,
    "shine": 2.0,
    "seed": 2**62 + 1,
    "noise": "warped",
    "width": 384,
    "style_picture": False,
}


def test_a_session_is_opened_with_what_was_chosen(look: Look) -> None:
    chosen = {"style": "great-wave:2, dusk:1", "prompt": "", "strength": 0.8, "freedom": 0.1, "steps": 3}
    own = {"detail": 512, "advanced": True, "session": "show", "socket": "", "latency_ms": 300, "style_image": "/a.png"}
    hello = look("hello", chosen | own, None, 640, 352)
    assert set(hello) == {"strength", "freedom", "steps", "styles", "width", "height"}
    parameters = changed(Parameters(), hello)
    assert dict(parameters.styles) == pytest.approx({"great-wave": 2 / 3, "dusk": 1 / 3})
    assert (parameters.strength, parameters.freedom, parameters.steps) == (0.8, 0.1, 3)
    assert (parameters.width, parameters.height) == (640, 352)
    assert look("hello", {}, None, 0, 0) == {}, "the daemon's own defaults"
    refused = {"styles": True, "style": True, "strength": True, "width": True}
    assert look("hello", chosen, refused, 640, 352) == {"freedom": 0.1, "steps": 3}


def test_words_win_over_the_style(look: Look) -> None:
    hello = look("hello", {"style": "dusk", "prompt": 'a "starry" night\n'}, None, 0, 0)
    assert hello == {"prompt": 'a "starry" night\n'}
    assert changed(Parameters(), hello).styles[0][0] == "starry-night"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"strength": 0.5}, {"strength": 0.5000000000000000001}, {}),
        ({"strength": 0.5, "style": "dusk"}, {"strength": 0.75, "style": "dusk"}, {"strength": 0.75}),
        ({"style": "dusk"}, {"style": "weave", "shine": 3.5}, {"styles": [["weave", 1.0]], "shine": 3.5}),
        ({"seed": 2**62 + 1}, {"seed": 2**62 + 2}, {"seed": 2**62 + 2}),
        ({"prompt": "a", "style": "dusk"}, {"prompt": "b", "style": "dusk"}, {"prompt": "b"}),
        ({"prompt": "a", "style": "dusk"}, {"prompt": "", "style": "dusk"}, {"styles": [["dusk", 1.0]]}),
        ({"prompt": "a", "style": "dusk"}, {"prompt": "a", "style": "weave"}, {}),  # words win
        ({"style_image": "/a.png"}, {"style_image": ""}, {"style_vector": None}),
        ({"style_image": ""}, {"style_image": "/a.png"}, {}),  # the picture itself is sent
        ({"strength": 0.75, "style": "dusk"}, {}, {"strength": 0.5, "styles": [["starry-night", 1.0]]}),  # to defaults
        ({"strength": 0.5}, {}, {}),
        ({"detail": 256, "session": ""}, {"detail": 512, "session": "show"}, {}),
    ],
)
def test_only_what_was_changed_is_sent(look: Look, before: dict, after: dict, expected: dict) -> None:
    assert look("changes", before, after, FIELDS) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strength": 0.75}, {"strength": 0.75}),
        ({"shine": 3.0, "noise": "fixed", "seed": 2**62 + 2}, {"shine": 3.0, "noise": "fixed", "seed": 2**62 + 2}),
        ({"width": 512, "vector": [1.0]}, {}),
        ({"styles": [["weave", 1.0]]}, {"style": "weave", "prompt": "", "prompts": ""}),
        (
            {"prompts": [["a fox", 1.0]], "styles": [["dusk", 0.5], ["weave", 0.5]]},
            {"style": "dusk:0.5,weave:0.5", "prompt": "a fox", "prompts": ""},
        ),
        (
            {"prompts": [['a "fox"', 1.0], ["über", 0.5]]},
            {"style": "dusk", "prompt": 'a "fox", über', "prompts": '[["a \\"fox\\"", 1.0], ["über", 0.5]]'},
        ),
        ({"styles": [["x" * 63, 1.0]] * 40}, {"prompt": "", "prompts": ""}),  # too many for a text: it stays
    ],
)
def test_settings_follow_only_what_was_changed_elsewhere(look: Look, changes: dict, expected: dict) -> None:
    assert look("followed", STATE_BEFORE, STATE_BEFORE | changes, None, FIELDS) == expected


def test_what_is_on_its_way_to_the_daemon_is_not_undone_by_an_older_state(look: Look) -> None:
    now = STATE_BEFORE | {"strength": 0.25, "shine": 1.0, "styles": [["weave", 1.0]]}
    assert look("followed", STATE_BEFORE, now, {"strength": 0.75, "prompt": "a fox"}, FIELDS) == {"shine": 1.0}


def test_a_picture_that_is_taken_away_elsewhere_leaves_the_settings(look: Look) -> None:
    there = STATE_BEFORE | {"style_picture": True}
    assert look("followed", there, STATE_BEFORE, None, FIELDS) == {"style_image": ""}
    assert look("followed", there, STATE_BEFORE, {"style_vector": None}, FIELDS) == {}
    assert look("followed", STATE_BEFORE, there, None, FIELDS) == {}


@pytest.mark.parametrize(
    ("settings", "state", "expected"),
    [
        ({"style": "dusk", "seed": 2**62 + 1}, {}, {}),
        ({"style": "dusk", "seed": 2**62 + 1}, {"strength": 0.75}, {"strength": 0.75}),  # others were there before
        ({"style": "weave", "seed": 2**62 + 1}, {}, {"style": "dusk", "prompt": "", "prompts": ""}),
        ({"seed": 2**62 + 1}, {"styles": [["starry-night", 1.0]]}, {}),  # the table's
        ({"prompt": "a", "seed": 2**62 + 1}, {"prompts": [["a", 1.0]]}, {}),  # whatever styles the words are
        ({"prompt": "a", "seed": 2**62 + 1}, {}, {"style": "dusk", "prompt": "", "prompts": ""}),
    ],
)
def test_a_session_seen_for_the_first_time_is_compared_with_the_settings(
    look: Look, settings: dict, state: dict, expected: dict
) -> None:
    assert look("found", settings, STATE_BEFORE | state, None, FIELDS) == expected


def test_a_daemon_without_table_or_prompts_is_followed(look: Look) -> None:
    before = {"styles": [["dusk", 1.0]], "strength": 0.5, "freedom": 0.25, "steps": 2, "delta": 1.0}
    now = {"styles": [["weave", 1.0]], "strength": 0.75, "freedom": 0.25, "steps": 3, "delta": 0.5}
    expected = {"strength": 0.75, "steps": 3, "style": "weave", "prompt": "", "prompts": ""}
    assert look("followed", before, now, None, None) == expected
    assert look("found", {"prompt": "a", "strength": 0.5}, before, None, None) == {"freedom": 0.25, "steps": 2}
    assert look("changes", {"strength": 0.5}, {"strength": 0.75}, None) == {"strength": 0.75}


def test_weighted_texts_come_back_as_they_were_while_the_words_stand(look: Look) -> None:
    prompts = [['a "fox", in \\ snow', 1.0], ["émbers: glowing", 0.5]]
    state = STATE_BEFORE | {"prompts": prompts}
    settings = look("followed", STATE_BEFORE, state, None, FIELDS)
    assert look("hello", settings, None, 0, 0) == {"styles": [["dusk", 1.0]], "prompts": prompts}
    assert look("found", settings | {"seed": 2**62 + 1}, state, None, FIELDS) == {}
    assert look("hello", settings | {"prompt": "a fox"}, None, 0, 0) == {"prompt": "a fox"}


def test_the_longest_prompts_fit(look: Look) -> None:
    prompts = [["🎨" * 1000, 1.0]] * 8
    settings = look("followed", STATE_BEFORE, STATE_BEFORE | {"prompts": prompts}, None, FIELDS)
    assert settings["prompt"].count("🎨") == 8000
    assert look("hello", settings, None, 0, 0)["prompt"] == settings["prompt"]


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (640, 360), (1080, 1920), (100, 100), (4000, 10), (1, 1)])
def test_the_model_size_is_the_daemons(look: Look, size: tuple[int, int]) -> None:
    assert look("size", *size, 384) == list(model_size(*size))


def test_the_model_size_keeps_to_the_bounds_of_the_table(look: Look) -> None:
    assert look("size", 1920, 1080, 1000, FIELDS) == [512, 512]
