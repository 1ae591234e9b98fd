"""The frame bus: fixed 64-byte messages over a Unix stream socket, pixels in sealed shared memory.

A message may carry a JSON object behind its 64 bytes. Pixels never travel in the stream: they lie in
the slots of a memfd that is handed over once (`SCM_RIGHTS`), and the ownership of a slot moves by
message, FRAME/RELEASE one way and RESULT/RESULT_RELEASE the other. `docs/bus.md` is the protocol; this
module is the codec, the memory and the book-keeping of slots, without any I/O.

    offset  0  4s   magic "DRFC"          offset 28  u32  stream, between the daemon and its engine
            4  u16  major                        32  u64  sequence
            6  u16  minor                        40  i64  pts, ns
            8  u16  type                         48  u64  payload size, bytes in the slot
           10  u16  slot                         56  u32  JSON length
           12  u32  width                        60  u32  (reserved)
           16  u32  height
           20  u32  stride, bytes per row
           24  u32  pixel format
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

MAGIC = b"DRFC"
MAJOR, MINOR = 1, 0
HEADER = struct.Struct("<4sHHHHIIIIIQqQII")
MAX_JSON = 64 * 1024
MAX_SIDE = 16_384
MAX_NAME = 64
SLOTS = 3
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class BusError(Exception):
    """The peer broke the protocol; the connection must be closed."""


class MessageType(IntEnum):
    """What a message is. Requests are answered by REPLY or ERROR with the request's sequence."""

    HELLO = 1  # client → daemon: JSON role, pid
    WELCOME = 2  # daemon → client, with two descriptors (input and result memory): JSON of the session. A request.
    FRAME = 3  # a picture in an input slot
    RELEASE = 4  # the input slot may be filled again
    RESULT = 5  # a picture in a result slot, pts of the frame it was made from
    RESULT_RELEASE = 6  # the result slot may be filled again
    PARAMETERS = 7  # request: JSON of `Parameters`
    STYLE_PICTURE = 8  # request: the picture in an input slot becomes a style vector
    FLUSH = 9  # request: deliver what is still in the pipeline; replied after the last RESULT
    REPORT = 10  # request: timings and memory
    REPLY = 11
    ERROR = 12  # JSON field, value, advice, text; sequence of the request, or 0
    EVENT = 13  # daemon → client, unasked: the state of the session
    PRESET = 14  # request: JSON name of the preset to apply
    OPEN = 15  # daemon → engine, request: a further stream, JSON live and parameters
    CLOSE = 16  # daemon → engine: the stream has ended


class PixelFormat(IntEnum):
    """Order of the bytes in a slot."""

    RGB24 = 1
    BGRA8 = 2


BYTES_PER_PIXEL = {PixelFormat.RGB24: 3, PixelFormat.BGRA8: 4}


@dataclass(frozen=True)
class Message:
    """One message; fields that a type does not use are 0."""

    type: MessageType
    slot: int = 0
    width: int = 0
    height: int = 0
    stride: int = 0
    pixel_format: int = 0
    sequence: int = 0
    pts: int = 0
    payload_size: int = 0
    stream: int = 0
    body: dict[str, Any] = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """The bytes of `message`. Raises `BusError` when its JSON is too long."""
    body = json.dumps(message.body, separators=(",", ":")).encode() if message.body else b""
    if len(body) > MAX_JSON:
        raise BusError(f"JSON of {len(body)} bytes, more than {MAX_JSON}")
    head = HEADER.pack(
        *(MAGIC, MAJOR, MINOR, message.type, message.slot),
        *(message.width, message.height, message.stride, message.pixel_format, message.stream),
        *(message.sequence, message.pts, message.payload_size, len(body), 0),
    )
    return head + body


class Decoder:
    """Bytes in, messages out; keeps an unfinished message until the rest arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises `BusError` at the first byte that breaks the protocol."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            magic, major, minor, kind, slot, *numbers = HEADER.unpack_from(self._buffer)
            width, height, stride, pixel_format, stream, sequence, pts, payload_size, json_length, _ = numbers
            if magic != MAGIC:
                raise BusError(f"not a Driftcam message: it starts with {magic!r}")
            if major != MAJOR:
                raise BusError(f"the peer speaks version {major}.{minor} of the bus, this side {MAJOR}.{MINOR}")
            if json_length > MAX_JSON:
                raise BusError(f"JSON of {json_length} bytes, more than {MAX_JSON}")
            end = HEADER.size + json_length
            if len(self._buffer) < end:
                return
            body = _parse_json(bytes(self._buffer[HEADER.size : end]))
            del self._buffer[:end]
            try:
                message_type = MessageType(kind)
            except ValueError:
                if minor > MINOR:  # a newer peer may say more than this side understands
                    continue
                raise BusError(f"unknown message type {kind}") from None
            shape = (width, height, stride, pixel_format)
            yield Message(message_type, slot, *shape, sequence, pts, payload_size, stream, body)


def _parse_json(text: bytes) -> dict[str, Any]:
    if not text:
        return {}
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BusError(f"JSON that cannot be read: {error}") from None
    if not isinstance(body, dict):
        raise BusError("JSON that is not an object")
    return body


class SlotPool:
    """`count` slots of `slot_bytes` in one sealed memfd, mapped; pixels are copied in and out.

    Memory is only taken by pages that were written, so the slots may be as large as the largest picture.
    """

    def __init__(self, fd: int, count: int, slot_bytes: int) -> None:
        """Map `fd`, which stays the caller's. Raises `BusError` unless it is sealed and of the right size."""
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError:
            raise BusError("the shared memory is not a memfd") from None
        if seals & SEALS != SEALS:
            raise BusError("the shared memory is not sealed against resizing")
        if not (0 < count <= 16 and 0 < slot_bytes <= MAX_SIDE * MAX_SIDE):
            raise BusError(f"{count} slots of {slot_bytes} bytes")
        if os.fstat(fd).st_size != count * slot_bytes:
            raise BusError(f"the shared memory is not {count} slots of {slot_bytes} bytes")
        self.count, self.slot_bytes = count, slot_bytes
        self._map = mmap.mmap(fd, count * slot_bytes)
        self._bytes = np.frombuffer(self._map, np.uint8)

    def write(self, slot: int, image: np.ndarray, message: Message) -> Message:
        """Copy an RGB picture (H, W, 3) into `slot`; returns `message` with the fields that describe it."""
        height, width, _ = image.shape
        described = describe(message, slot, width, height, PixelFormat.RGB24)
        np.copyto(self.view(described), image)
        return described

    def read(self, message: Message) -> np.ndarray:
        """A copy of the picture that `message` describes. Raises `BusError` when it does not fit its slot."""
        return self.view(message).copy()

    def view(self, message: Message) -> np.ndarray:
        """The picture that `message` describes where it lies, (H, W, 3 or 4) u8; let go of it before `close`.

        Raises `BusError` when it does not fit its slot.
        """
        if message.slot >= self.count:
            raise BusError(f"slot {message.slot} of {self.count}")
        try:
            depth = BYTES_PER_PIXEL[PixelFormat(message.pixel_format)]
        except ValueError:
            raise BusError(f"unknown pixel format {message.pixel_format}") from None
        width, height, stride = message.width, message.height, message.stride
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise BusError(f"a picture of {width}×{height}")
        if not width * depth <= stride <= self.slot_bytes or message.payload_size != stride * height:
            raise BusError(f"stride {stride} and {message.payload_size} bytes for {width}×{height}")
        if message.payload_size > self.slot_bytes:
            raise BusError(f"{message.payload_size} bytes in a slot of {self.slot_bytes}")
        start = message.slot * self.slot_bytes
        rows = self._bytes[start : start + message.payload_size].reshape(height, stride)
        return rows[:, : width * depth].reshape(height, width, depth)

    def close(self) -> None:
        """Unmap."""
        del self._bytes
        self._map.close()


def describe(message: Message, slot: int, width: int, height: int, pixel_format: PixelFormat) -> Message:
    """`message` for a picture without gaps between its rows in `slot`."""
    stride = width * BYTES_PER_PIXEL[pixel_format]
    return dataclasses.replace(
        message,
        slot=slot,
        width=width,
        height=height,
        stride=stride,
        pixel_format=pixel_format,
        payload_size=height * stride,
    )


def create_memory(count: int, slot_bytes: int) -> int:
    """A sealed memfd for a `SlotPool`; the caller closes it."""
    fd = os.memfd_create("driftcam", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, count * slot_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def peer_user(sock: socket.socket) -> int:
    """The user (uid) at the other end of a Unix socket."""
    credentials = struct.Struct("iII")  # pid, uid, gid
    return credentials.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))[1]


class SlotLedger:
    """Which slots of a pool this side may fill."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = list(range(count))

    def take(self) -> int | None:
        """A free slot, now out, or None."""
        return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        """The peer returned `slot`. Raises `BusError` when it did not have it."""
        if slot >= self._count or slot in self._free:
            raise BusError(f"slot {slot} was given back but was not out")
        self._free.append(slot)

    @property
    def out(self) -> int:
        """Slots that the peer holds."""
        return self._count - len(self._free)
