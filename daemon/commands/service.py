"""`driftcam service`."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    return
