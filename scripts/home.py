"""A home of its own for a daemon that is measured: nothing that a person has configured, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def home_of_its_own() -> Iterator[None]:
    """For this process and those that it starts, which must have ended when it is left."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HOME": home, "XDG_RUNTIME_DIR": home, "XDG_STATE_HOME": home, "XDG_CONFIG_HOME": home}
        yield
