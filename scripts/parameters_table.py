"""Writes `docs/parameters.md` from the table of parameters: `python -m scripts.parameters_table`."""

from __future__ import annotations

from pathlib import Path

from driftcam.engines.api import TABLE
from driftcam.engines.api.fields import MODELS, Field

PAGE = Path(__file__).parent.parent / "docs" / "parameters.md"
HEAD = """# Parameters

Everything that can be changed while a stream runs, under one name everywhere: `driftcam run --strength 0.5`, `driftcam
ctl set strength=0.5` (or `--strength 0.5`), `PATCH /api/parameters`, `[live.parameters]` of the configuration, presets,
the frame bus, `Parameters(strength=0.5)` in Python; page and OBS show the names for people. Written by `python -m
scripts.parameters_table` from the one table there is, `engines/api/parameters.py`; programs read it at
`GET /api/parameters/fields`.

| name | for people | values | default | |
|---|---|---|---|---|
"""
TAIL = """
On the command line `styles` is `--style`, `prompts` is `--prompt` (in the API `prompt`, whose words resolve to styles,
too), a picture is `--style-image` and `driftcam run` takes `--size N|WxH`. Numbers that a model does not have are
ignored, so that a preset fits every model; words and pictures that it does not understand are refused.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"| {' | '.join(_row(field))} |\n" for field in TABLE.values()) + TAIL


def _row(field: Field) -> list[str]:
    cells = [f"`{field.name}`", field.label, _values(field), _default(field), _about(field)]
    return [cell.replace("|", "\\|") for cell in cells]


def _values(field: Field) -> str:
    told = field.to_dict()
    if field.kind == "choice":
        return "`" + "`, `".join(told["choices"]) + "`"
    if told["low"] is None:
        return {"styles": f"`{field.example}`", "vector": "a picture", "vectors": "pictures"}.get(field.kind, "text")
    many = f" in steps of {told['step']}" if field.kind == "integer" and told["step"] > 1 else ""
    high = f"{told['high']:g}" if told["high"] < 10**6 else "2⁶³ − 1"
    return f"{told['low']:g} to {high}{many} {field.unit}".rstrip()


def _default(field: Field) -> str:
    if field.kind == "styles":
        return ",".join(f"`{name}`" for name, _ in field.default)
    if field.default in ("", (), None):
        return "–"
    return f"{field.default:g}" if isinstance(field.default, (int, float)) else f"`{field.default}`"


def _about(field: Field) -> str:
    only = " and ".join(MODELS[model] for model in field.models)
    return field.about if len(field.models) == len(MODELS) else f"{field.about} ({only} only)"


if __name__ == "__main__":
    PAGE.write_text(page())
