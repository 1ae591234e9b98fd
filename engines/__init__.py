"""Frames in, stylised frames out. `engines.api` is light and is all that other rooms import."""

import sys

# Nothing here phones home: without this module OpenVINO falls back to its silent stand-in.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
