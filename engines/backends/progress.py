"""How builds that take their time say how far they are. Without torch, for the process that builds."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""progress(phase, share of it that is done, 0 to 1)."""
