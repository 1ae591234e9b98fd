"""The configuration file as people write it, rightly and wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.config.config import Config, differences, fields
from driftcam.daemon.config.file import ConfigError, line_of, load, parse_flag
from driftcam.engines.api import ParameterError

GOOD = """
# what a streamer writes
[server]
listen = "127.0.0.1:9000"
hosts = ["studio.example"]

[live]
source = "webcam:2"
sinks = ["virtualcam"]
size = "512x288"
[live.parameters]
styles = [["great-wave", 2], ["dusk", 1]]
strength = 0.8

[engine]
answer = 5
"""


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None, flags: dict | None = None) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path, environ or {}, flags)


def problems(tmp_path: Path, text: str, environ: dict[str, str] | None = None, flags: dict | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, environ, flags)
    return caught.value.problems


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DRIFTCAM_SERVER__LISTEN", "DRIFTCAM_LIVE__SINKS", "DRIFTCAM_LIVE__SOURCE"):
        monkeypatch.delenv(name, raising=False)


def test_a_good_file_is_taken_as_it_is(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.server.listen == "127.0.0.1:9000"
    assert config.live.sinks == ("virtualcam",)
    parameters = config.live.first_parameters()
    assert (parameters.strength, dict(parameters.styles)["dusk"]) == (0.8, pytest.approx(1 / 3))
    assert config.engine.answer == 5
    assert not config.server.needs_token


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    config = load(tmp_path / "none.toml", {})
    assert config.server.listen == "127.0.0.1:8900"
    assert config.bus.enabled


def test_flags_win_over_variables_and_those_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTCAM_SERVER__LISTEN", "127.0.0.1:9001")
    monkeypatch.setenv("DRIFTCAM_LIVE__SOURCE", "test")
    config = read(tmp_path, GOOD, flags={"live": {"source": "webcam:7"}})
    assert config.server.listen == "127.0.0.1:9001"
    assert config.live.source == "webcam:7"
    assert config.live.size == "512x288", "the rest of a section stays"


@pytest.mark.parametrize("listen", ["0.0.0.0:8900", "[::]:8900", "192.168.1.4:1", "studio.example:80"])
def test_beyond_this_machine_a_token_is_needed(tmp_path: Path, listen: str) -> None:
    assert read(tmp_path, f'[server]\nlisten = "{listen}"').server.needs_token


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[server]\nlisten = "nowhere"', 2, ["server.listen", "'nowhere'", "HOST:PORT"]),
        ("[server]\n\n\nviewers = 0", 4, ["server.viewers", "0"]),
        ('[server]\ntls_cert = "/x.pem"', 1, ["tls_key"]),
        ('[live]\nsinks = [\n  "virtualcam",\n  "flie:x.mp4",\n]', 2, ["live.sinks.1", "'flie:x.mp4'", "file:PATH"]),
        ("[live.parameters]\nstyles = [['stary-night', 1]]", 2, ["live.parameters.styles", "starry-night"]),
        ("[live.parameters]\nnegative_prompt = 'fog'", 2, ["live.parameters.negative_prompt", "Stable Diffusion"]),
        ("[live.parameters]\nstrength = 3", 2, ["live.parameters.strength", "3", "0 to 1"]),
        ('[live]\nsinks = ["file:x.mp4"]', 2, ["live.sinks.0", "'file:x.mp4'", "driftcam ctl record"]),
        ('[live]\nsinks = ["page"]', 2, ["the page is always there"]),
        ("live.parameters.steps = 'x'", 1, ["live.parameters.steps", "'x'"]),
        ('[live]\nparameters = {stlyes = "x"}', 2, ["stlyes", "did you mean styles"]),
        ("[live.parameters]\nprompt = ''", 2, ["live.parameters.prompt", "1 to 1000"]),
        ("[sever]\nx = 1", 1, ["sever", "did you mean server"]),
        ("[engine]\nwieghts = 'x'", 2, ["engine.wieghts", "did you mean weights"]),
        ("[engine]\nanswer = -1", 2, ["engine.answer", "-1"]),
        ("[engine]\npipeline = 'batch'", 2, ["engine.pipeline", "'batch'", "auto, sequential, stream"]),
        ("[engine]\nbackend = 'directml'", 2, ["engine.backend", "'directml'", "auto, tensorrt"]),
        ("[engine]\nprecision = 'int8'", 2, ["engine.precision", "'int8'", "fp16"]),
        ("[engine]\nsolver = 'heun'", 2, ["engine.solver", "'heun'", "embedded models have: auto, euler, dpmpp"]),
        ("[engine]\ndevice = -1", 2, ["engine.device", "-1", "number of a graphics card"]),
        ('[log]\nlevel = "loud"', 2, ["log.level", "'loud'"]),
        ("[server]\nlisten = 127.0.0.1:80", 2, ["column"]),
        ("[server", 1, ["Expected"]),
        ("server = 5", 1, ["server", "5"]),
    ],
)
def test_what_is_wrong_is_told_with_line_field_and_value(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(f"{tmp_path / 'config.toml'}: line {line}")
    for word in words:
        assert word in problem


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "[engine]\nstart = 0\nanswer = 0\n[log]\nlevel = 1")) == 3


def test_a_bad_variable_or_flag_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = problems(tmp_path, "", flags={"live": {"source": "webcm"}})
    assert problem.startswith("flag: live.source: 'webcm'")
    monkeypatch.setenv("DRIFTCAM_LIVE__SOURCE", "webcm")
    (problem,) = problems(tmp_path, '[live]\nsource = "test"', {"DRIFTCAM_LIVE__SOURCE": "webcm"})
    assert problem.startswith("DRIFTCAM_LIVE__SOURCE: live.source: 'webcm'")
    monkeypatch.setenv("DRIFTCAM_LIVE__SOURCE", "test")
    monkeypatch.setenv("DRIFTCAM_LIVE__SINKS", '["virtualcam')
    assert "DRIFTCAM_LIVE" in problems(tmp_path, "")[0]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[server]\nlisten = '\xe9'", b"a = 1\n" * 400_000])
def test_a_file_that_is_no_text_or_endless_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(data)
    with pytest.raises(ConfigError):
        load(tmp_path / "config.toml", {})


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})


names = st.sampled_from(["server", "live", "engine", "log", "bus", "x", "parameters", "listen", "viewers", "sinks"])
values = st.sampled_from(['"x"', "1", "-1", "1e400", "nan", "[]", '["page"]', "{}", "true", "{a = 1}", "[[", '"', ""])
lines = st.one_of(
    names.map(lambda name: f"[{name}]"),
    st.builds(lambda name, value: f"{name} = {value}", names, values),
    st.builds(lambda section, name, value: f"{section}.{name} = {value}", names, names, values),
    st.text(max_size=12).filter(lambda text: text < "\ud800" or text.isascii()),
)


@given(st.lists(lines, max_size=8))
def test_every_file_is_taken_or_explained(tmp_path_factory: pytest.TempPathFactory, written: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("\n".join(written), encoding="utf-8", errors="replace")
    try:
        assert isinstance(load(path, {}), Config)
    except ConfigError as error:
        assert all(str(path) in problem for problem in error.problems)


@given(st.data())
def test_the_line_of_a_field_is_found_wherever_it_stands(data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(sorted(fields())))
    field = data.draw(st.sampled_from(fields()[section]))
    comments = data.draw(st.lists(st.sampled_from(["", "# [x]", "  # a = 1"]), max_size=5))
    text = "\n".join([*comments, f"[ {section} ] # here", *comments, f"  {field} = 1"])
    assert line_of(text, (section, field)) == 2 * len(comments) + 2


def test_flags_are_read_as_toml_or_as_text() -> None:
    assert parse_flag("server.viewers=4") == ("server", "viewers", 4)
    assert parse_flag("live.source=webcam:1") == ("live", "source", "webcam:1")
    assert parse_flag('live.sinks=["virtualcam"]') == ("live", "sinks", ["virtualcam"])
    for text in ("server.viewers", "viewers=4", ""):
        with pytest.raises(ParameterError):
            parse_flag(text)


def test_what_differs_between_two_configurations_is_listed(tmp_path: Path) -> None:
    old, new = read(tmp_path, GOOD), read(tmp_path, GOOD.replace("9000", "9001").replace("0.8", "0.7"))
    assert differences(old, new) == ["server.listen", "live.parameters"]


def test_every_field_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    for section, names in fields().items():
        for name in names:
            assert f"`{section}.{name}`" in documented, f"{section}.{name}"
