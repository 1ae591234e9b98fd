"""Settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

import driftcam.daemon  # noqa: F401  before whatever loads OpenCV: it sets what OpenCV reads then

ROOT = Path(__file__).parents[1]
# Processes that tests start find this checkout's `driftcam` first, and the tests' stand-ins.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
# A shared machine is slow at times: time limits would fail without a defect. Examples are the same in every run.
settings.register_profile("driftcam", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("driftcam")
