"""JSON schemas of what the API takes and gives; those of the parameters are made from their table."""

from __future__ import annotations

from typing import Any

from driftcam.daemon.modulation.settings import BPM, FIELDS
from driftcam.engines.api import TABLE
from driftcam.engines.api.fields import MODELS
from driftcam.engines.api.parameters import MAX_PROMPT

STRINGS = {"type": "array", "items": {"type": "string"}}
PROMPT = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_PROMPT,
    "description": "leads a checkpoint; its words resolve to styles of the embedded model",
}


def modulation_schema() -> dict[str, Any]:
    values = {name: field.schema() for name, field in FIELDS.items()} | {"on": {"type": "boolean"}}
    one = {"type": ["object", "null"], "additionalProperties": False, "properties": values}
    about = "by parameter, or styles.NAME for a style's weight; null ends one"
    modulators = {"type": "object", "additionalProperties": one, "description": about}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {"bpm": BPM.schema(), "modulators": modulators},
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": {
        "type": "object",
        "required": ["field", "message"],
        "properties": {
            "field": {"type": ["string", "null"], "description": "what cannot be used, where it is one thing"},
            "message": {"type": "string", "description": "what is wrong and what to do, for people"},
        },
    },
    "State": {
        "type": "object",
        "required": ["session", "version", "parameters", "engine", "fps", "latency_ms", "notices"],
        "properties": {
            "session": {"type": "string"},
            "version": {"type": "integer", "description": "counts the changes of the parameters"},
            "undo": {"type": "integer", "minimum": 0, "description": "steps that can be undone"},
            "redo": {"type": "integer", "minimum": 0, "description": "undone steps that can be done again"},
            "parameters": {"$ref": "#/components/schemas/Parameters"},
            "modulation": {"$ref": "#/components/schemas/Modulation"},
            "modulated": {"type": "object", "description": "the parameters that are moved, and where they are now"},
            "source": {"type": "string"},
            "sinks": STRINGS,
            "live": {"type": "boolean"},
            "bypass": {"type": "boolean", "description": "the untouched picture is shown"},
            "engine": {"type": "string", "enum": ["starting", "ready", "restarting", "broken", "stopped"]},
            "model": {
                "type": ["string", "null"],
                "description": "which parameters act, see models of Field; null for an engine of somebody else",
            },
            "reason": {"type": "string", "description": "why there are no results"},
            "backend": {"type": "string"},
            "pipeline": {"type": "string", "description": "sequential; stream: results lag some frames; or not known"},
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
    "Field": {
        "type": "object",
        "description": "a parameter: what it is called, takes and starts with; what its kind does not have is null",
        "required": [
            *("name", "kind", "label", "group", "about", "unit", "default", "models"),
            *("low", "high", "step", "choices", "choice_labels"),
        ],
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["number", "integer", "choice", "text", "styles", "prompts", "vector", "vectors"]},
            "label": {"type": "string", "description": "at a control, for people"},
            "group": {"type": "string", "description": "of controls that stand together, for people"},
            "about": {"type": "string", "description": "what it does, for people"},
            "unit": {"type": "string"},
            "default": {},
            "models": {"type": "array", "items": {"enum": list(MODELS)}, "description": "on which it acts"},
            "low": {"type": ["number", "null"]},
            "high": {"type": ["number", "null"]},
            "step": {"type": ["number", "null"], "description": "of a slider; an integer is a multiple of it"},
            "choices": STRINGS,
            "choice_labels": {**STRINGS, "description": "of the choices, for people"},
        },
    },
    "Plane": {
        "type": "object",
        "required": ["name", "format", "about", "lifetime", "scaling", "read"],
        "properties": {
            "name": {"type": "string"},
            "format": {"type": "string", "description": "of its pixels, as in docs/bus.md"},
            "about": {"type": "string"},
            "lifetime": {"type": "string", "enum": ["frame", "session"]},
            "scaling": {"type": "string", "enum": ["area", "nearest"]},
            "read": {"type": "boolean", "description": "the session's engine reads it"},
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
    "Anchor": {
        "type": "object",
        "required": ["number", "picture", "colours"],
        "properties": {
            "number": {"type": "integer", "minimum": 0},
            "picture": {"type": "boolean", "description": "whether there is a picture of it"},
            "colours": {
                "type": "array",
                "items": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
                "description": "of its palette, from dark to light",
            },
        },
    },
    "Modulation": modulation_schema(),
    "Midi": {
        "type": "object",
        "required": ["ports", "open", "map", "learning", "problem"],
        "properties": {
            "ports": {**STRINGS, "description": "that are there"},
            "open": {**STRINGS, "description": "that are listened to"},
            "map": {
                "type": "object",
                "description": "what each control is for",
                "additionalProperties": {"type": "string"},
            },
            "learning": {"type": "string", "description": "what the next control that is moved will be for, or empty"},
            "problem": {"type": "string", "description": "why no port can be had, or empty"},
        },
    },
    "ModulationFields": {
        "type": "object",
        "required": ["targets", "bpm", "fields"],
        "properties": {
            "targets": {**STRINGS, "description": "the parameters that can be moved, and the weights of styles"},
            "bpm": {"$ref": "#/components/schemas/Field"},
            "fields": {"type": "array", "items": {"$ref": "#/components/schemas/Field"}},
        },
    },
    "Health": {
        "type": "object",
        "required": ["ok", "reason"],
        "properties": {"ok": {"type": "boolean"}, "reason": {"type": "string"}},
    },
}


def schemas() -> dict[str, dict[str, Any]]:
    """All of them, with the parameters that there are now."""
    values = {name: field.schema() for name, field in TABLE.items()}
    vector = values.pop("style_vector")
    picture = {"type": "boolean", "description": "a picture's style is used"}
    return {
        **SCHEMAS,
        "Parameters": {
            "type": "object",
            "required": [*values, "style_picture"],
            "properties": {**values, "style_picture": picture},
        },
        "Changes": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {**values, "prompt": PROMPT, "style_vector": vector},
        },
    }


def ref(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(name: str) -> dict[str, Any]:
    """A list of them."""
    return {"type": "array", "items": ref(name)}
