"""The Unix socket of the frame bus: where it lies, who may open it. `engines.api.bus_client` is the other end."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from driftcam.daemon.config.folders import runtime_folder
from driftcam.engines.api import ParameterError
from driftcam.engines.api.bus import peer_user

NAME = "bus.sock"
LONGEST_PATH = 107  # bytes, of the kernel


def listen(folder: Path | None = None) -> tuple[socket.socket, Path]:
    """Listen in `folder`, or in the user's runtime folder; returns the socket and its path.

    Raises `ParameterError` where there is no folder that only this user can enter, or another daemon listens.
    """
    folder = folder or runtime_folder()
    if folder is None:
        advice = (
            "set XDG_RUNTIME_DIR to a folder that only you can enter, as a login session does, or switch the bus off"
        )
        raise ParameterError("bus", "XDG_RUNTIME_DIR", advice)
    path = folder / NAME
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ParameterError("bus", str(path), f"the path of a socket has at most {LONGEST_PATH} bytes")
    try:
        _make_private(folder)
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with contextlib.ExitStack() as undo:
            undo.callback(sock.close)
            sock.bind(os.fspath(path))
            path.chmod(0o600)
            sock.listen(16)
            sock.setblocking(False)
            undo.pop_all()
    except OSError as error:
        raise ParameterError("bus", str(path), f"it cannot be used ({error.strerror})") from None
    return sock, path


def same_user(sock: socket.socket) -> bool:
    """Whether the other end of a connection belongs to this user."""
    return peer_user(sock) == os.getuid()


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.lstat()
    if info.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise ParameterError("bus", str(folder), "it is not a folder of this user")
    folder.chmod(0o700)


def _remove_stale(path: Path) -> None:
    """The socket of a daemon that was killed."""
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(1)
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise ParameterError("bus", str(path), "another daemon is running; stop it first")
