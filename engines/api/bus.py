"""The frame bus: fixed 64-byte messages over a Unix stream socket, pixels in sealed shared memory.

A message may carry a JSON object behind its 64 bytes. Pixels never travel in the stream: they lie in
the slots of a memfd that is handed over once (`SCM_RIGHTS`), and the ownership of a slot moves by
message, FRAME/RELEASE one way and RESULT/RESULT_RELEASE the other. One slot holds all planes of a frame: the
picture, which the 64 bytes describe, and those beside it, which the JSON lists. `docs/bus.md` is the protocol; this
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from driftcam.engines.api.planes import (
    MAX_SIDE,
    NAME,
    NO_PLANES,
    PICTURE_FORMATS,
    RGB,
    PixelFormat,
    Planes,
    format_of,
)

MAGIC = b"DRFC"
MAJOR, MINOR = 1, 1
HEADER = struct.Struct("<4sHHHHIIIIIQqQII")
MAX_JSON = 64 * 1024
MAX_NAME = 64
MAX_PLANES, PLANE_ALIGN = 8, 64  # beside the picture, and of what their offsets are multiples
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
    STYLE_PICTURE = 8  # request, as clients up to version 1.0 say: PLANE `style_picture`
    FLUSH = 9  # request: deliver what is still in the pipeline; replied after the last RESULT
    REPORT = 10  # request: timings and memory
    REPLY = 11
    ERROR = 12  # JSON field, value, advice, text; sequence of the request, or 0
    EVENT = 13  # daemon → client, unasked: the state of the session
    PRESET = 14  # request: JSON name of the preset to apply, and travel: seconds on the way
    OPEN = 15  # daemon → engine, request: a further stream, JSON live and parameters
    CLOSE = 16  # daemon → engine: the stream has ended
    PLANE = 17  # request: the picture in an input slot becomes the session plane JSON `name`; width 0 takes it away


_ALL_FORMATS = tuple(PixelFormat)


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


def json_bytes(value: Any) -> bytes:
    """A value as the bus carries it: UTF-8, so that no text takes more bytes than it must; half a character is `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def encode(message: Message) -> bytes:
    """The bytes of `message`. Raises `BusError` when its JSON is too long."""
    body = json_bytes(message.body) if message.body else b""
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

    def write(self, slot: int, image: np.ndarray, message: Message, planes: Planes = NO_PLANES) -> Message:
        """Copy a picture and the planes beside it into `slot`; returns `message` with the fields that describe them.

        Raises `BusError` when they do not fit.
        """
        described = described_as(message, slot, image, planes)
        np.copyto(self.view(described), image)
        if planes:
            for name, view in self.planes(described).items():
                np.copyto(view, planes[name])
        return described

    def read(self, message: Message) -> np.ndarray:
        """A copy of the picture that `message` describes. Raises `BusError` when it does not fit its slot."""
        return self.view(message).copy()

    def view(self, message: Message) -> np.ndarray:
        """The picture that `message` describes where it lies, (H, W, 3 or 4) u8; let go of it before `close`.

        A PLANE may be of any format. Raises `BusError` when it does not fit its slot.
        """
        kind = message.pixel_format
        if kind not in (PICTURE_FORMATS if message.type is not MessageType.PLANE else _ALL_FORMATS):
            raise BusError(f"unknown pixel format {kind}")
        width, height, stride = message.width, message.height, message.stride
        if message.payload_size != stride * height:
            raise BusError(f"stride {stride} and {message.payload_size} bytes for {width}×{height}")
        return self._pixels(message.slot, 0, PixelFormat(kind), width, height, stride)

    def planes(self, message: Message) -> dict[str, np.ndarray]:
        """The planes beside the picture where they lie, by name; let go of them before `close`.

        Raises `BusError` when their description is none, or they do not fit their slot, or each other.
        """
        if "planes" not in message.body:
            return {}
        listed = message.body["planes"]
        if not isinstance(listed, list) or len(listed) > MAX_PLANES:
            raise BusError(f"planes: give a list of at most {MAX_PLANES} descriptions")
        places = sorted(map(_parse_plane, listed), key=lambda place: place.offset)
        begin, views = message.payload_size, {}
        for place in places:
            if place.offset < begin:
                raise BusError(f"plane {place.name} at byte {place.offset}, where another one lies")
            if place.name in views:
                raise BusError(f"plane {place.name} twice")
            views[place.name] = self._pixels(message.slot, *place[1:])
            begin = place.offset + place.stride * place.height
        return views

    def _pixels(
        self, slot: int, offset: int, pixel_format: PixelFormat, width: int, height: int, stride: int
    ) -> np.ndarray:
        """Pixels `offset` bytes into a slot. Raises `BusError` when they are not all in it."""
        if slot >= self.count:
            raise BusError(f"slot {slot} of {self.count}")
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise BusError(f"a picture of {width}×{height}")
        row, size = width * pixel_format.bytes_per_pixel, pixel_format.dtype.itemsize
        if not row <= stride <= self.slot_bytes or stride % size:
            raise BusError(f"stride {stride} for {width} pixels of {pixel_format.name}")
        if offset + stride * height > self.slot_bytes:
            raise BusError(f"{offset + stride * height} bytes in a slot of {self.slot_bytes}")
        start = slot * self.slot_bytes + offset
        rows = self._bytes[start : start + stride * height].reshape(height, stride)[:, :row]
        return (rows if size == 1 else rows.view(pixel_format.dtype)).reshape(pixel_format.shape(width, height))

    def close(self) -> None:
        """Unmap."""
        del self._bytes
        self._map.close()


class _PlanePlace(NamedTuple):
    """What the JSON of a message says of a plane."""

    name: str
    offset: int
    format: PixelFormat
    width: int
    height: int
    stride: int


def _parse_plane(entry: object) -> _PlanePlace:
    """Raises `BusError`."""
    if not isinstance(entry, dict):
        raise BusError("a plane that is not an object")
    name, kind = entry.get("name"), entry.get("format")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == RGB:
        raise BusError(f"{name!r:.100} is no name of a plane beside the picture")
    if not isinstance(kind, str) or kind not in PixelFormat.__members__:
        raise BusError(f"plane {name} of the unknown format {kind!r:.100}")
    numbers: dict[str, int] = {}
    for key in ("offset", "width", "height", "stride"):
        number = entry.get(key)
        if type(number) is not int or not 0 <= number < 2**48:
            raise BusError(f"plane {name} of {key} {number!r:.100}")
        numbers[key] = number
    if numbers["offset"] % PLANE_ALIGN:
        raise BusError(f"plane {name} at byte {numbers['offset']}, which is no multiple of {PLANE_ALIGN}")
    return _PlanePlace(name, format=PixelFormat[kind], **numbers)


def describe(
    message: Message,
    slot: int,
    width: int,
    height: int,
    pixel_format: PixelFormat,
    planes: Mapping[str, tuple[PixelFormat, int, int]] = MappingProxyType({}),
) -> Message:
    """`message` for a picture without gaps between its rows in `slot`, and planes (format, width, height) behind it."""
    stride = width * pixel_format.bytes_per_pixel
    body = message.body
    if planes:
        body = {**body, "planes": list(_behind(height * stride, planes))}
    return dataclasses.replace(
        message,
        slot=slot,
        width=width,
        height=height,
        stride=stride,
        pixel_format=pixel_format,
        payload_size=height * stride,
        body=body,
    )


def _behind(end: int, planes: Mapping[str, tuple[PixelFormat, int, int]]) -> Iterator[dict[str, Any]]:
    """The JSON of planes one behind the other, from byte `end` of their slot on."""
    for name, (pixel_format, width, height) in planes.items():
        offset, stride = -(-end // PLANE_ALIGN) * PLANE_ALIGN, width * pixel_format.bytes_per_pixel
        place = {"offset": offset, "width": width, "height": height, "stride": stride}
        yield {"name": name, "format": pixel_format.name, **place}
        end = offset + height * stride


def described_as(message: Message, slot: int, image: np.ndarray, planes: Planes = NO_PLANES) -> Message:
    """`message` for `image` and the planes beside it in `slot`. Raises `BusError` for arrays of no known format."""
    beside = {name: _measured(name, array) for name, array in planes.items()} if planes else {}
    pixel_format, width, height = _measured(RGB, image)
    return describe(message, slot, width, height, pixel_format, beside)


def _measured(name: str, array: np.ndarray) -> tuple[PixelFormat, int, int]:
    """Format, width and height."""
    pixel_format = format_of(array)
    if pixel_format is None:
        raise BusError(f"plane {name} is {array.dtype} of shape {array.shape}, which has no pixel format")
    return pixel_format, array.shape[1], array.shape[0]


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
