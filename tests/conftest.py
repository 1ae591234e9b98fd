"""Settings shared by all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

import daemon  # noqa: F401  before whatever loads OpenCV: it sets what OpenCV reads then

os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
# A shared machine is slow at times: time limits would fail without a defect. Examples are the same in every run.
settings.register_profile("driftcam", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("driftcam")
