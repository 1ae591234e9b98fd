"""A command's ways out: standard output and error as they are in terminals, pipes, services and schedulers."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import TextIO

INTERRUPTED, NOBODY_READS, CANNOT_WRITE = 130, 141, 1  # exit statuses: as a shell names SIGINT and SIGPIPE


def run(command: Callable[[], int]) -> int:
    """The exit status of `command`, with standard streams that can be written to, and a working folder."""
    _open_missing()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a test's own
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    _stand_somewhere()
    try:
        status = command()
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head -1`
        _write_nowhere()
        return NOBODY_READS
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        _write_nowhere()
        print(f"driftcam: standard output cannot be written ({error.strerror})", file=sys.stderr)
        return CANNOT_WRITE


def speaks(text: str, stream: TextIO) -> bool:
    """Whether `stream` has letters for `text`."""
    try:
        text.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _open_missing() -> None:
    """A descriptor that is closed would be the next file's: what is meant for a terminal would be written into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _stand_somewhere() -> None:
    """Libraries do not load where there is no working folder any more."""
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir("/")
        print("driftcam: the working folder is gone; paths begin at / now", file=sys.stderr)


def _write_nowhere() -> None:
    """The interpreter flushes once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
