"""What v4l2loopback must be asked directly: capabilities, format and frame rate of a video device.

Numbers and layouts are those of linux/videodev2.h on a 64-bit machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

QUERYCAP, G_FMT, S_PARM, STREAMON = 0x80685600, 0xC0D05604, 0xC0CC5616, 0x40045612
CAPTURE, OUTPUT = 1, 2  # both the buffer types and the capability bits
LOOPBACK_VERSION = Path("/sys/module/v4l2loopback/version")
_CAPABILITY_BYTES, _DEVICE_CAPS = 104, 88
_FORMAT_BYTES, _PIX = 208, 8  # after the type, the union begins at a multiple of 8
_PARM_BYTES, _TIME_PER_FRAME = 204, 12


def capabilities(descriptor: int) -> int:
    """Of CAPTURE and OUTPUT, those that the device has at the moment. Raises `OSError`."""
    reply = bytearray(_CAPABILITY_BYTES)
    fcntl.ioctl(descriptor, QUERYCAP, reply)
    return struct.unpack_from("I", reply, _DEVICE_CAPS)[0] & (CAPTURE | OUTPUT)


def shown_format(descriptor: int) -> tuple[int, int, str] | None:
    """Width, height and FourCC that a program which opens the camera gets; None while it shows nothing."""
    return _format(descriptor, CAPTURE)


def taken_format(device: str) -> tuple[int, int, str] | None:
    """Width, height and FourCC that `device`, which this process has open for output, takes."""
    formats = (_format(descriptor, OUTPUT) for descriptor in _own_descriptors(device))
    return next((taken for taken in formats if taken is not None), None)


def _format(descriptor: int, side: int) -> tuple[int, int, str] | None:
    reply = bytearray(_FORMAT_BYTES)
    struct.pack_into("I", reply, 0, side)
    try:
        fcntl.ioctl(descriptor, G_FMT, reply)
    except OSError:
        return None
    width, height, fourcc = struct.unpack_from("II4s", reply, _PIX)
    return width, height, fourcc.decode("ascii", "replace")


def announce_rate(device: str, fps: float) -> None:
    """Programs that open the camera see this frame rate (30 otherwise). Best effort."""
    parm = bytearray(_PARM_BYTES)
    struct.pack_into("I", parm, 0, OUTPUT)
    struct.pack_into("II", parm, _TIME_PER_FRAME, 1000, round(fps * 1000))
    with contextlib.suppress(OSError), opened(device) as descriptor:
        fcntl.ioctl(descriptor, S_PARM, parm)


def revive(device: str) -> bool:
    """Give a v4l2loopback device its output capability back; whether it has one now. Raises `OSError`.

    Up to version 0.12.7, a device with exclusive_caps=1 has no capability at all once a producer that used write()
    has closed it (v4l2loopback's issue 470). Starting to stream on it, even in vain, wakes it up.
    """
    with opened(device) as descriptor:
        if capabilities(descriptor):
            return bool(capabilities(descriptor) & OUTPUT)
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, STREAMON, struct.pack("i", OUTPUT))
    with opened(device) as descriptor:
        return bool(capabilities(descriptor) & OUTPUT)


def claim(device: str) -> None:
    """Tell v4l2loopback up to 0.12.7 that this process' descriptors of `device` are a producer's.

    The kernel then gives the capability back by itself when they close, also after a kill -9 and while other programs
    hold the camera open. Later versions know it from writing, and would refuse to mix writing and streaming.
    """
    if LOOPBACK_VERSION.exists():  # 0.12 does not tell its version
        return
    for descriptor in _own_descriptors(device):
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, STREAMON, struct.pack("i", OUTPUT))


def _own_descriptors(device: str) -> list[int]:
    """Those of this process that are open on `device`: pyvirtualcam keeps its own to itself."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile, by another thread
            if os.readlink(f"/proc/self/fd/{name}") == device:
                found.append(int(name))
    return found


@contextlib.contextmanager
def opened(device: str) -> Iterator[int]:
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
