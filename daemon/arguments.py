"""What all commands say about arguments that cannot be used."""

from __future__ import annotations

import argparse
from typing import NoReturn

BAD_INPUT = 2
"""Exit status of a command that was given something it cannot use."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"driftcam: {message} ({self.prog} --help)\n")
