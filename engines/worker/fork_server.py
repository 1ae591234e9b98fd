"""A process that has loaded what an engine needs and forks one whenever the daemon asks: milliseconds, not seconds.

It has one thread and opens no stream: what a fork must not inherit (pools of threads, compiled networks, a graphics
card's context) begins in the child.

On its socket, lines: `ready` when it has loaded; `born PID` when a byte with two descriptors asked for a child, which
takes the first for its bus and the second for its standard error; `ended PID STATUS`, negative as by signal. It ends
when the socket closes.
"""

from __future__ import annotations

import os
import signal
import socket

import cv2


def stay_alone() -> None:
    """Before anything is loaded: no pool of threads, which a child would wait for in vain."""
    cv2.setNumThreads(1)


def become_a_child(sock: socket.socket) -> socket.socket:
    """Fork as often as the daemon at `sock` asks for it. Returns in each child, with its bus; never in the parent."""

    def tell(line: str) -> None:
        sock.sendall(f"{line}\n".encode())

    def bury(*_: object) -> None:
        while (end := _next_end()) is not None:
            tell(f"ended {end[0]} {end[1]}")

    signal.signal(signal.SIGCHLD, bury)
    tell("ready")
    while True:
        wish, fds, _, _ = socket.recv_fds(sock, 1, 2)
        if not wish:
            os._exit(0)
        if (pid := os.fork()) == 0:
            break
        for fd in fds:
            os.close(fd)
        tell(f"born {pid}")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sock.close()
    bus, stderr = fds
    os.dup2(stderr, 2)
    os.close(stderr)
    cv2.setNumThreads(-1)
    return socket.socket(fileno=bus)


def _next_end() -> tuple[int, int] | None:
    """PID and exit status of a child that has ended."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
