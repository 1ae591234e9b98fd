"""JSON schemas of what the API takes and gives, made from the parameters' own ranges."""

from __future__ import annotations

import dataclasses
from typing import Any

from driftcam.engines.api import GUIDANCE_MODES, NOISE_MODES, Parameters
from driftcam.engines.api.parameters import INTEGERS, MAX_PROMPT, MAX_PROMPTS, RANGES, SIZE_RANGE
from driftcam.engines.api.styles import STYLE_NAMES


def _parameter(name: str) -> dict[str, Any]:
    if name in RANGES:
        low, high = RANGES[name]
        return {"type": "integer" if name in INTEGERS else "number", "minimum": low, "maximum": high}
    if name in ("width", "height"):
        return {"type": "integer", "minimum": SIZE_RANGE[0], "maximum": SIZE_RANGE[1], "multipleOf": 8}
    if name == "styles":
        weight: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1e6}
        style = {"type": "string", "enum": list(STYLE_NAMES)}
        pair = {"type": "array", "prefixItems": [style, weight], "minItems": 2, "maxItems": 2}
        return {"type": "array", "items": pair, "minItems": 1, "description": "pairs of a style and its weight"}
    if name == "prompts":
        weight = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6}
        text = {"type": "string", "minLength": 1, "maxLength": MAX_PROMPT}
        pair = {"type": "array", "prefixItems": [text, weight], "minItems": 2, "maxItems": 2}
        return {"type": "array", "items": pair, "maxItems": MAX_PROMPTS, "description": "texts and their weights"}
    choices = {"guidance": GUIDANCE_MODES, "noise": NOISE_MODES}
    return {"type": "string", "enum": list(choices[name])}


FIELDS = [field.name for field in dataclasses.fields(Parameters) if field.name != "style_vector"]
LOOK = {name: _parameter(name) for name in FIELDS}
STRINGS = {"type": "array", "items": {"type": "string"}}

SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": {
        "type": "object",
        "required": ["field", "message"],
        "properties": {
            "field": {"type": ["string", "null"], "description": "what cannot be used, where it is one thing"},
            "message": {"type": "string", "description": "what is wrong and what to do, for people"},
        },
    },
    "Parameters": {
        "type": "object",
        "required": [*FIELDS, "style_picture"],
        "properties": {**LOOK, "style_picture": {"type": "boolean", "description": "a picture's style is used"}},
    },
    "Changes": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            **LOOK,
            "prompt": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_PROMPT,
                "description": "leads a checkpoint; its words resolve to styles of the embedded model",
            },
            "style_vector": {"type": "null", "description": "null ends the style of a picture"},
        },
    },
    "State": {
        "type": "object",
        "required": ["session", "version", "parameters", "engine", "fps", "latency_ms", "notices"],
        "properties": {
            "session": {"type": "string"},
            "version": {"type": "integer", "description": "counts the changes of the parameters"},
            "parameters": {"$ref": "#/components/schemas/Parameters"},
            "source": {"type": "string"},
            "sinks": STRINGS,
            "live": {"type": "boolean"},
            "engine": {"type": "string", "enum": ["starting", "ready", "restarting", "broken", "stopped"]},
            "reason": {"type": "string", "description": "why there are no results"},
            "backend": {"type": "string"},
            "fps": {"type": "number", "minimum": 0},
            "fps_in": {"type": "number", "minimum": 0},
            "latency_ms": {"type": "number", "description": "from capture to result, median of the newest"},
            "engine_ms": {"type": "number", "minimum": 0},
            "delivered": {"type": "integer", "minimum": 0},
            "dropped": {"type": "integer", "minimum": 0},
            "notices": {**STRINGS, "description": "the newest lines for people"},
            "recording": {"oneOf": [{"$ref": "#/components/schemas/Recording"}, {"type": "null"}]},
        },
    },
    "Style": {
        "type": "object",
        "required": ["name", "about", "picture"],
        "properties": {
            "name": {"type": "string"},
            "about": {"type": "string"},
            "picture": {"type": "boolean", "description": "/styles/NAME.jpg is there"},
        },
    },
    "Presets": {
        "type": "object",
        "required": ["names", "damaged"],
        "properties": {"names": STRINGS, "damaged": {**STRINGS, "description": "files that are no presets"}},
    },
    "Recording": {
        "type": "object",
        "required": ["path", "seconds", "frames", "dropped", "bytes"],
        "properties": {
            "path": {"type": "string"},
            "seconds": {"type": "number"},
            "frames": {"type": "integer"},
            "dropped": {"type": "integer"},
            "bytes": {"type": "integer"},
        },
    },
    "Engine": {
        "type": "object",
        "required": ["state", "reason", "backend", "restarts", "pid", "report"],
        "properties": {
            "state": {"type": "string"},
            "reason": {"type": "string"},
            "backend": {"type": "string"},
            "restarts": {"type": "integer", "minimum": 0},
            "pid": {"type": ["integer", "null"]},
            "report": {"type": "object", "description": "the engine's own words on the session, stages in ms"},
        },
    },
    "LogLine": {
        "type": "object",
        "required": ["time", "level", "text"],
        "properties": {
            "time": {"type": "number", "description": "seconds since 1970"},
            "level": {"type": "string"},
            "text": {"type": "string"},
        },
    },
    "Insight": {
        "type": "object",
        "required": ["flow", "noise", "cut"],
        "properties": {
            "flow": {"type": ["string", "null"], "description": "PNG in base64: direction as colour, speed as opacity"},
            "noise": {"type": "string", "description": "PNG in base64: three channels of the noise, a pixel a cell"},
            "cut": {"type": "boolean", "description": "the frame began another scene"},
        },
    },
    "Share": {
        "type": "object",
        "required": ["addresses", "hint"],
        "properties": {
            "addresses": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["address", "qr"],
                    "properties": {
                        "address": {"type": "string"},
                        "qr": {"type": "string", "description": "SVG of a QR code that also logs in"},
                    },
                },
            },
            "hint": {"type": "string", "description": "what to know, for people"},
        },
    },
    "Health": {
        "type": "object",
        "required": ["ok", "reason"],
        "properties": {"ok": {"type": "boolean"}, "reason": {"type": "string"}},
    },
}


def ref(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(name: str) -> dict[str, Any]:
    """A list of them."""
    return {"type": "array", "items": ref(name)}
