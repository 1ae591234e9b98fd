"""The secret that lets programs and browsers in from beyond this machine."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from driftcam.daemon.files import write_whole
from driftcam.engines.api import ParameterError

COOKIE = "driftcam"
SHORTEST = 20  # letters; 256 random bits are 43
LONGEST = 500


def read_or_make(path: Path) -> str:
    """The token in a file that only its owner can read, made anew where there is none. Raises `ParameterError`."""
    try:
        return read(path)
    except FileNotFoundError:
        return _make(path)


def _make(path: Path) -> str:
    token = secrets.token_urlsafe(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, f"{token}\n".encode(), replace=False)
    except FileExistsError:  # another process was quicker
        return read(path)
    except OSError as error:
        raise ParameterError("server.token_file", str(path), f"it cannot be written ({error.strerror})") from None
    return token


def read(path: Path) -> str:
    """Raises `FileNotFoundError`, or `ParameterError` for a file that is not a secret."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status, data = os.fstat(descriptor), file.read(LONGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ParameterError("server.token_file", str(path), f"it cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
        raise ParameterError("server.token_file", str(path), "it must be a file of your own")
    if status.st_mode & 0o077:
        raise ParameterError("server.token_file", str(path), f"others can read it; run: chmod 600 {path}")
    token = data.strip()
    if len(token) < SHORTEST or not token.isascii() or b" " in token:
        advice = f"it must hold at least {SHORTEST} letters or digits; delete it to get a new one"
        raise ParameterError("server.token_file", str(path), advice)
    return token.decode()


class Gate:
    """Knows the token and the cookie that a browser gets for it; both are compared in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        # Made from the token, so that it outlives a restart and dies with the token, which it does not give away.
        self.cookie = hmac.new(self._token, b"driftcam cookie", hashlib.sha256).hexdigest()

    def knows_token(self, authorization: str | None) -> bool:
        """Whether an Authorization header is `Bearer TOKEN`."""
        scheme, _, given = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)

    def knows_cookie(self, given: str | None) -> bool:
        """Whether a browser has logged in."""
        return hmac.compare_digest((given or "").encode(), self.cookie.encode())
