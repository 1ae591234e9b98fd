"""Talking to systemd: ready, status, watchdog (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Systemd:
    """Silent where systemd did not start us. The variables are taken away, so that children do not speak for us.

    Attributes:
        watchdog_s: how often `alive` must be called, in seconds, or None.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        mine = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and mine else None
        self._status = ""

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        """To be followed by `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """What `systemctl status` shows."""
        if line != self._status:
            self._status = line
            self._send("STATUS=" + line.replace("\n", " "))

    def alive(self) -> None:
        """There was progress."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # Where it fails systemd is busy or gone, and the next call may reach it.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(text.encode(), self._address)
