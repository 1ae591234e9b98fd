"""One table of parameters: whatever is declared reaches everything that offers, describes or takes parameters."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftcam.daemon import cli
from driftcam.daemon.bus.server import BusServer
from driftcam.daemon.commands.parameters import parse_value
from driftcam.daemon.session.core import Core
from driftcam.engines.api import TABLE, ParameterError, Parameters, declare
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.fields import EMBEDDED, Field
from scripts.parameters_table import PAGE, page
from tests.daemon import elsewhere as elsewhere_engine
from tests.daemon.conftest import ROOT
from tests.daemon.http_daemon import daemon_in


@pytest.fixture
def elsewhere() -> Iterator[tuple[Field, ...]]:
    """Parameters of a condition that lives elsewhere."""
    undo = [declare(field) for field in elsewhere_engine.FIELDS]
    yield elsewhere_engine.FIELDS
    for each in undo:
        each()


async def test_a_field_declared_elsewhere_is_served_described_and_taken(tmp_path: Path, elsewhere) -> None:
    async with daemon_in(tmp_path, elsewhere_engine.NAME) as daemon, daemon.client() as client:
        table = {each["name"]: each for each in await (await client.get("/api/parameters/fields")).json()}
        assert list(table) == list(TABLE)
        assert table["afterglow"] == elsewhere[0].to_dict()
        assert (table["afterglow"]["high"], table["afterglow"]["unit"]) == (3.0, "s")
        assert table["recall"]["choices"] == ["all", "edges"]

        schemas = (await (await client.get("/api/openapi.json")).json())["components"]["schemas"]
        for name in ("Parameters", "Changes"):
            assert schemas[name]["properties"]["afterglow"] == elsewhere[0].schema()
            assert schemas[name]["properties"]["recall"]["enum"] == ["all", "edges"]

        state = await (await client.get("/api/state")).json()
        assert (state["parameters"]["afterglow"], state["parameters"]["recall"]) == (0.2, "all")
        changed = await (await client.patch("/api/parameters", json={"afterglow": 1.5, "recall": "edges"})).json()
        assert (changed["parameters"]["afterglow"], changed["parameters"]["recall"]) == (1.5, "edges")
        refused = await client.patch("/api/parameters", json={"afterglow": 3.5})
        answer = await refused.json()
        assert (refused.status, answer["field"]) == (422, "afterglow")
        assert "from 0 to 3" in answer["message"]
        assert getattr(daemon.session.control.parameters, "afterglow") == 1.5  # noqa: B009 (no type checker knows it)


async def test_what_the_model_cannot_do_is_refused_before_any_engine_is_there(tmp_path: Path) -> None:
    """Else a change that is taken while it starts would keep it from opening the stream."""
    never = [sys.executable, "-c", "import time; time.sleep(3600)"]
    core = Core(never, notify=lambda line: None, model=EMBEDDED)
    try:
        session = core.sessions.open("live", Parameters())
        for change, words in (
            ({"styles": [["stary-night", 1]]}, "starry-night"),
            ({"prompt": "zzzz"}, "no word fits"),
            ({"negative_prompt": "fog"}, "only a Stable Diffusion checkpoint"),
        ):
            with pytest.raises(ParameterError, match=words):
                await session.control.change(change)
        assert session.control.parameters == Parameters()
        with pytest.raises(ParameterError, match="starry-night"):
            core.sessions.open("other", Parameters(styles=(("stary-night", 1.0),)))
        await session.control.change({"styles": [["weave", 1]]})
    finally:
        await core.close()


async def test_a_field_declared_elsewhere_is_told_to_programs_on_the_bus(tmp_path: Path, elsewhere) -> None:
    async with daemon_in(tmp_path, elsewhere_engine.NAME) as daemon:
        server = BusServer(daemon.core.sessions)
        path = server.start(tmp_path)

        def ask() -> dict:
            with BusClient("sink", path=path) as client:
                return client.report()

        report = await asyncio.to_thread(ask)
        await server.close()
    told = {each["name"]: each for each in report["fields"]}
    assert list(told) == list(TABLE)
    assert told["afterglow"] == elsewhere[0].to_dict()
    assert report["parameters"]["afterglow"] == 0.2


@pytest.mark.parametrize("command", [["run"], ["ctl", "set"]], ids=" ".join)
def test_a_field_declared_elsewhere_is_a_flag(command: list[str], elsewhere, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert "--afterglow 0…3" in help_text and "how much of the past stays (0.2 s)" in help_text
    assert "--recall all|edges" in help_text


@pytest.mark.parametrize("command", [["run"], ["ctl", "set"]], ids=" ".join)
def test_every_parameter_that_can_be_typed_is_a_flag(command: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    wanted = {"--" + name.replace("_", "-") for name, field in TABLE.items() if field.typed}
    wanted -= {"--styles", "--prompts"}
    if command == ["run"]:  # which has its own word for the size
        wanted = wanted - {"--width", "--height"} | {"--size", "--style-image"}
    assert wanted | {"--style", "--prompt"} <= options


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("strength", "0.5", 0.5),
        ("strength", "much", "much"),
        ("steps", "3", 3),
        ("noise", "fixed", "fixed"),
        ("styles", "weave:2,dusk", (("weave", 2.0), ("dusk", 1.0))),
        ("styles", '[["weave", 1]]', [["weave", 1]]),
        ("prompts", "a boat", (("a boat", 1.0),)),
        ("negative_prompt", "12", "12"),
        ("prompt", "a boat", "a boat"),
        ("style_vector", "null", None),
    ],
)
def test_what_is_typed_behind_a_name_is_read_as_its_field_says(name: str, text: str, value: object) -> None:
    assert parse_value(name, text) == value


def test_a_weight_that_is_no_number_is_named() -> None:
    with pytest.raises(ParameterError, match="weave:much"):
        parse_value("styles", "weave:much")


SOURCES = [path for room in ("daemon", "engines", "webrtc") for path in sorted((ROOT / room).rglob("*.py"))]
TABLE_FILE = ROOT / "engines" / "api" / "parameters.py"
COMMON = {"width", "height", "seed"}  # words that many other things are described by
ELSE = {  # arguments that mean something else than the parameter of their name
    ("guidance.py", "delta"),  # of the mathematics: 1 leaves everything as it is
    ("temporal.py", "refresh"),
    ("temporal.py", "degradation"),
    ("fitting.py", "fit"),  # a device's picture is cut, whatever the model's is
}


def literal(node: ast.expr | None) -> bool:
    """Whether it is a value that is written out."""
    try:
        return node is not None and ast.literal_eval(node) not in (None, (), "")
    except ValueError:
        return False


def defaults_in(tree: ast.AST) -> Iterator[str]:
    """Names of attributes and arguments that have a value by default."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and literal(node.value):
            yield node.target.id
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            plain, more = [*node.args.posonlyargs, *node.args.args], node.args.defaults
            pairs = [*zip(plain[len(plain) - len(more) :], more, strict=True)]
            pairs += [*zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
            yield from (argument.arg for argument, value in pairs if literal(value))


def calls_in(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        called = getattr(node, "func", None)
        if isinstance(node, ast.Call) and name in (getattr(called, "id", ""), getattr(called, "attr", "")):
            yield node


def ranges_in(text: str) -> Iterator[str]:
    """Names behind which the range of their parameter is spelled; shares of 0 to 1 are no range that anybody chose."""
    for name, field in TABLE.items():
        low, high = getattr(field, "low", None), getattr(field, "high", None)
        if high is None or (low, high) == (0, 1):
            continue
        between = r" ?(?:to|and|–|-|…|\.\.|≤|,) ?"
        spelled = rf"(?<![\w.]){name}(?!\w)[^\n]{{0,60}}?(?<![\d.]){low:g}(?:\.0)?{between}{high:g}(?:\.0)?(?!\.?\d)"
        if re.search(spelled, text):
            yield name


def repeated(path: Path) -> list[str]:
    """What a source says of parameters that only the table may say."""
    text = path.read_text()
    tree = ast.parse(text)
    found = [f"the default of {name}" for name in defaults_in(tree) if name in TABLE.keys() - COMMON]
    found = [each for each in found if (path.name, each.rpartition(" ")[2]) not in ELSE]
    found += [f"the range of {name}" for name in ranges_in(text)]
    for call in calls_in(tree, "ParameterError"):
        words = ast.get_source_segment(text, call) or ""
        first = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
        if first in TABLE and re.search(r"from \S+ to \S+|multiple of", words):
            found.append(f"the range of {first}")
    for call in calls_in(tree, "add_argument"):
        options = [str(argument.value) for argument in call.args if isinstance(argument, ast.Constant)]
        flags = [each for each in options if each.startswith("--") and each[2:].replace("-", "_") in TABLE]
        found += [f"the flag {each}" for each in flags]
    return found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("class Look:\n    strength: float = 0.8", "the default of strength"),
        ("def paint(frame, freedom=0.1): ...", "the default of freedom"),
        ("def paint(*, steps: int = 3): ...", "the default of steps"),
        ('raise ParameterError("strength", 9, "give a number from 0 to 1")', "the range of strength"),
        ('"""steps: 1 to 8, as the table has it."""', "the range of steps"),
        ("# delta lies in [0, 2]", "the range of delta"),
        ('parser.add_argument("--guidance-scale", type=float)', "the flag --guidance-scale"),
    ],
)
def test_what_is_said_a_second_time_is_found(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "source.py").write_text(text)
    assert repeated(tmp_path / "source.py") == [what]


def test_no_range_default_or_flag_of_a_parameter_is_written_a_second_time() -> None:
    assert TABLE_FILE in SOURCES and len(SOURCES) > 150
    sources = [path for path in SOURCES if path != TABLE_FILE]
    assert {str(path): found for path in sources if (found := repeated(path))} == {}


WRITTEN = {".md", ".c", ".h", ".js", ".css", ".html", ".ini", ".effect"}
HISTORY = {"CHANGELOG.md", "fields.c"}  # fields.c: what daemons had that sent no table yet


def test_no_range_of_a_parameter_is_written_in_documents_page_or_plugin() -> None:
    rooms = [ROOT / room for room in ("docs", "daemon", "engines", "webrtc", "obs_plugin")]
    files = [
        *ROOT.glob("*.md"),
        *(path for room in rooms for path in sorted(room.rglob("*")) if path.suffix in WRITTEN),
    ]
    assert len(files) > 60 and PAGE in files
    files = [path for path in files if path != PAGE and path.name not in HISTORY]
    assert {str(path): found for path in files if (found := [*ranges_in(path.read_text())])} == {}


def test_the_documentation_says_what_the_table_says() -> None:
    assert PAGE.read_text() == page(), "run: python -m scripts.parameters_table"
    assert all(f"| `{name}` | {field.label} |" in page() for name, field in TABLE.items())


def test_the_page_says_nothing_of_ranges_and_choices() -> None:
    page = (ROOT / "webrtc" / "page" / "index.html").read_text()
    assert "data-parameter" not in page and "<option" not in page
    sliders = re.findall(r"<input[^>]*type=\"range\"[^>]*>", page)
    assert [re.search(r'id="(\w+)"', slider)[1] for slider in sliders] == ["wipe"]
    for path in (ROOT / "webrtc" / "page" / "js").glob("*.js"):
        spelled = [name for name in TABLE if re.search(rf"\b{name}\b[^\n]*(min|max|step)\s*:", path.read_text())]
        assert set(spelled) <= COMMON, path
