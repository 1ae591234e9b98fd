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
from driftcam.daemon.frames import model_size
from driftcam.engines.api import Parameters
from tests.obs_plugin.conftest import ADDRESS

STATE = {
    "session": "live",
    "version": 3,
    "parameters": {
        "styles": [["great-wave", 1.0]],
        "strength": 0.75,
        "freedom": 1e-1,
        "steps": 2,
        "style_vector": None,
    },
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
        ([["x" * 63, 1.0]] * 9, ""),
    ],
)
def test_styles_of_a_state_become_the_text_of_the_setting(
    fuzz: Path, tmp_path: Path, styles: Any, expected: str
) -> None:
    text = json.dumps({"parameters": {"styles": styles}}).encode()
    assert run_fuzz(fuzz, [text], tmp_path) == [(True, expected)]


def look(build: Callable[..., Path], *arguments: str) -> str:
    done = subprocess.run([build("look_program", *ADDRESS), *arguments], capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def test_the_settings_are_understood_by_the_daemon(build: Callable[..., Path]) -> None:
    text = look(build, "json", "great-wave:2, dusk:1", "", "0.8", "0.1", "3", "640", "352", "1")
    parameters = changed(Parameters(), json.loads(text))
    assert dict(parameters.styles) == pytest.approx({"great-wave": 2 / 3, "dusk": 1 / 3})
    assert (parameters.strength, parameters.freedom, parameters.steps) == (0.8, 0.1, 3)
    assert (parameters.width, parameters.height) == (640, 352)
    assert json.loads(text)["style_vector"] is None


def test_words_win_over_the_style(build: Callable[..., Path]) -> None:
    text = look(build, "json", "dusk", 'a "starry" night\n', "1", "0", "1", "0", "0", "0")
    assert json.loads(text) == {"strength": 1, "freedom": 0, "steps": 1, "prompt": 'a "starry" night\n'}
    assert changed(Parameters(), json.loads(text)).styles[0][0] == "starry-night"


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (640, 360), (1080, 1920), (100, 100), (4000, 10), (1, 1)])
def test_the_model_size_is_the_daemons(build: Callable[..., Path], size: tuple[int, int]) -> None:
    width, height = size
    assert look(build, "size", str(width), str(height), "384").split() == [str(n) for n in model_size(*size)]
