"""The codec, the shared memory and the book-keeping of slots, also against a hostile peer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.bus.hello import report
from driftcam.engines.api import Parameters
from driftcam.engines.api.bus import (
    HEADER,
    MAGIC,
    MAJOR,
    MAX_JSON,
    MINOR,
    BusError,
    Decoder,
    Message,
    MessageType,
    SlotLedger,
    SlotPool,
    create_memory,
    encode,
    json_bytes,
)
from driftcam.engines.api.parameters import fields_json
from driftcam.engines.api.planes import PICTURE_FORMATS, PixelFormat

COUNT, BYTES = 3, 64 * 64 * 3
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
bodies = st.dictionaries(st.text(max_size=8), st.integers() | st.floats(allow_nan=False) | st.text(max_size=20))
messages = st.builds(
    Message,
    st.sampled_from(MessageType),
    *(st.integers(0, 2**16 - 1), u32, u32, u32, u32, u64, st.integers(-(2**63), 2**63 - 1), u64, u32),
    bodies,
)


@pytest.fixture(scope="module")
def pool() -> Iterator[SlotPool]:
    fd = create_memory(COUNT, BYTES)
    pool = SlotPool(fd, COUNT, BYTES)
    os.close(fd)
    yield pool
    pool.close()


def test_the_header_is_64_bytes_and_lies_where_the_document_says() -> None:
    message = Message(MessageType.RESULT, 1, 2, 3, 4, 5, 6, -7, 8, 9, {"a": 1})
    data = encode(message)
    assert HEADER.size == 64
    assert data[:4] == MAGIC
    places = {4: (2, MAJOR), 6: (2, MINOR), 8: (2, 5), 10: (2, 1), 12: (4, 2), 16: (4, 3), 20: (4, 4), 24: (4, 5)}
    places |= {28: (4, 9), 32: (8, 6), 48: (8, 8), 56: (4, len(b'{"a":1}')), 60: (4, 0)}
    for offset, (size, value) in places.items():
        assert int.from_bytes(data[offset : offset + size], "little") == value, f"offset {offset}"
    assert int.from_bytes(data[40:48], "little", signed=True) == -7


@given(st.lists(messages, max_size=5), st.data())
def test_messages_survive_the_way_however_the_stream_is_cut(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder = Decoder()
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [message for part in parts for message in decoder.feed(part)] == sent


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waits_for_more(data: bytes) -> None:
    read_or_refused(data)
    read_or_refused(MAGIC + MAJOR.to_bytes(2, "little") + data)


@given(messages, st.integers(0, 63), st.integers(0, 255))
def test_a_flipped_byte_never_does_harm(message: Message, place: int, value: int) -> None:
    data = bytearray(encode(message))
    data[place] = value
    read_or_refused(bytes(data))


def read_or_refused(data: bytes) -> None:
    try:
        for message in Decoder().feed(data):
            assert isinstance(message, Message)
    except BusError:
        pass


def header(**changes: int) -> bytes:
    fields = {"major": MAJOR, "minor": MINOR, "type": 4, "json": 0} | changes
    return HEADER.pack(MAGIC, fields["major"], fields["minor"], fields["type"], *[0] * 9, fields["json"], 0)


def test_another_major_version_is_refused_and_named() -> None:
    with pytest.raises(BusError, match=rf"version {MAJOR + 1}\.{MINOR}"):
        list(Decoder().feed(header(major=MAJOR + 1)))


def test_an_unknown_type_is_skipped_from_a_newer_minor_version_and_refused_otherwise() -> None:
    known = Message(MessageType.RELEASE)
    assert list(Decoder().feed(header(minor=MINOR + 1, type=999) + encode(known))) == [known]
    with pytest.raises(BusError, match="999"):
        list(Decoder().feed(header(type=999)))


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff\xfe", b"[" * MAX_JSON])
def test_json_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(BusError, match="JSON"):
        list(Decoder().feed(header(json=len(text)) + text))


def test_the_largest_state_and_the_table_fit_beside_as_many_presets_as_have_room() -> None:
    """Eight prompts of a thousand letters that take four bytes each, five hundred presets with long names."""
    prompts, names = [["🎨" * 1000, 1.0]] * 8, [f"{number:03}" + "ü" * 61 for number in range(500)]
    event = {"parameters": Parameters(prompts=prompts).to_dict(), "session": "live", "page": "http://127.0.0.1:8900/"}
    told = report(event, names)
    assert told["parameters"] == event["parameters"] and told["fields"] == fields_json()
    assert told["presets"] == names[: len(told["presets"])] and len(told["presets"]) > 100
    data = encode(Message(MessageType.REPLY, body=told))
    assert MAX_JSON - 200 < len(data) - HEADER.size <= MAX_JSON
    assert report(event, names[:3])["presets"] == names[:3]
    assert len(json_bytes(fields_json())) < MAX_JSON / 4, "room for the parameters of conditions to come"


def test_half_a_character_is_no_reason_to_end_a_connection() -> None:
    (message,) = Decoder().feed(encode(Message(MessageType.EVENT, body={"notice": "a \ud83c b", "ü": "🎨"})))
    assert message.body == {"notice": "a ? b", "ü": "🎨"}


def test_json_without_end_is_refused_before_it_is_stored() -> None:
    with pytest.raises(BusError, match="bytes, more than"):
        list(Decoder().feed(header(json=MAX_JSON + 1)))
    with pytest.raises(BusError, match="bytes, more than"):
        encode(Message(MessageType.REPLY, body={"a": "x" * MAX_JSON}))


@pytest.mark.parametrize("shape", [(64, 64), (1, 64), (63, 5)])
def test_a_picture_comes_out_as_it_went_in(pool: SlotPool, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    other = np.full((64, 64, 3), 7, np.uint8)
    beside = pool.write(2, other, Message(MessageType.FRAME))
    described = pool.write(1, image, Message(MessageType.FRAME, pts=5))
    assert described.pts == 5
    np.testing.assert_array_equal(pool.read(described), image)
    np.testing.assert_array_equal(pool.read(beside), other)


def test_rows_may_be_longer_than_the_picture(pool: SlotPool) -> None:
    padded = pool.write(0, np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3), Message(MessageType.FRAME))
    narrow = dataclasses.replace(padded, width=4)
    np.testing.assert_array_equal(pool.read(narrow), pool.read(padded)[:, :4])


@given(messages)
def test_no_description_reads_outside_its_slot(pool: SlotPool, message: Message) -> None:
    picture_or_refused(pool, message)


@given(*(st.integers(0, n) for n in (4, 70, 70, 250, 2, 15_000)))
def test_no_near_miss_does_either(pool: SlotPool, slot: int, w: int, h: int, stride: int, kind: int, size: int) -> None:
    picture_or_refused(pool, Message(MessageType.FRAME, slot, w, h, stride, kind, payload_size=size))
    picture_or_refused(pool, Message(MessageType.FRAME, slot, w, h, stride, kind, payload_size=stride * h))


def picture_or_refused(pool: SlotPool, message: Message) -> None:
    try:
        image = pool.read(message)
    except BusError:
        return
    assert message.slot < COUNT
    pixel_format = PixelFormat(message.pixel_format)
    assert pixel_format in PICTURE_FORMATS or message.type is MessageType.PLANE
    assert image.shape == pixel_format.shape(message.width, message.height)
    assert message.stride * message.height == message.payload_size <= BYTES


PLANES = {
    "mask": np.arange(30 * 20, dtype=np.uint8).reshape(30, 20),
    "depth": np.arange(7 * 5, dtype=np.uint16).reshape(7, 5) * 999,
    "control": np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3),
}


def test_planes_lie_behind_the_picture_and_come_out_as_they_went_in(pool: SlotPool) -> None:
    image, other = np.full((20, 30, 3), 9, np.uint8), np.full((64, 64, 3), 7, np.uint8)
    beside = pool.write(2, other, Message(MessageType.FRAME))
    described = pool.write(1, image, Message(MessageType.FRAME, pts=5, body={"index": 3}), PLANES)
    (message,) = Decoder().feed(encode(described))
    alone = dataclasses.replace(pool.write(0, image, Message(MessageType.FRAME, pts=5)), slot=1)
    assert dataclasses.replace(message, body={}) == alone, "who knows only the picture finds it where it was"
    assert message.body["index"] == 3
    np.testing.assert_array_equal(pool.read(message), image)
    views = pool.planes(message)
    assert list(views) == list(PLANES)
    for name, view in views.items():
        np.testing.assert_array_equal(view, PLANES[name])
    np.testing.assert_array_equal(pool.read(beside), other)


def test_a_message_without_planes_has_no_json(pool: SlotPool) -> None:
    described = pool.write(0, np.zeros((8, 8, 3), np.uint8), Message(MessageType.FRAME))
    assert len(encode(described)) == HEADER.size
    assert pool.planes(described) == {}


def test_planes_that_do_not_fit_a_slot_are_refused_before_anything_is_written(pool: SlotPool) -> None:
    image = np.full((64, 60, 3), 9, np.uint8)
    with pytest.raises(BusError, match="bytes in a slot of"):
        pool.write(0, image, Message(MessageType.FRAME), {"mask": np.zeros((64, 60), np.uint8)})
    with pytest.raises(BusError, match="mask is float32"):
        pool.write(0, image, Message(MessageType.FRAME), {"mask": np.zeros((4, 4), np.float32)})


def mask(**changes: object) -> dict[str, object]:
    fields = {"name": "mask", "format": "GRAY8", "width": 4, "height": 4, "stride": 4, "offset": 192}
    return {key: value for key, value in (fields | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("planes", "words"),
    [
        ("mask", "a list of at most"),
        ({"name": "mask"}, "a list of at most"),
        ([mask(name=f"mask{n}", offset=192 + 64 * n) for n in range(9)], "a list of at most 8"),
        (["mask"], "not an object"),
        ([mask(name=None)], "no name of a plane"),
        ([mask(name="rgb")], "no name of a plane"),
        ([mask(name="Mask")], "no name of a plane"),
        ([mask(name="../mask")], "no name of a plane"),
        ([mask(name="m" * 33)], "no name of a plane"),
        ([mask(format="NV12")], "unknown format 'NV12'"),
        ([mask(format=3)], "unknown format 3"),
        ([mask(format=["GRAY8"])], "unknown format"),
        ([mask(width=0)], "0×4"),
        ([mask(height=16_385)], "4×16385"),
        ([mask(width=True)], "width True"),
        ([mask(height=4.0)], "height 4.0"),
        ([mask(stride=None)], "stride None"),
        ([mask(offset=-64)], "offset -64"),
        ([mask(offset=2**99)], "offset"),
        ([mask(stride=3)], "stride 3"),
        ([mask(offset=200)], "no multiple of 64"),
        ([mask(offset=128)], "where another one lies"),
        ([mask(), mask(name="alpha")], "where another one lies"),
        ([mask(stride=80), mask(name="alpha", offset=448)], "where another one lies"),
        ([mask(), mask(offset=256)], "mask twice"),
        ([mask(format="GRAY16", stride=9)], "stride 9"),
        ([mask(offset=BYTES)], "bytes in a slot of"),
        ([mask(offset=BYTES - 64, stride=17)], "bytes in a slot of"),
        ([mask(stride=2**40)], "stride"),
    ],
)
def test_planes_that_cannot_be_are_refused(pool: SlotPool, planes: object, words: str) -> None:
    picture = pool.write(1, np.zeros((8, 8, 3), np.uint8), Message(MessageType.FRAME))
    with pytest.raises(BusError, match=words):
        pool.planes(dataclasses.replace(picture, body={"planes": planes}))


number = st.integers(-1, 80) | st.integers(0, 200).map(lambda n: 64 * n)
near_planes = st.lists(
    st.builds(
        lambda name, kind, w, h, extra, offset: mask(
            name=name, format=kind, width=w, height=h, stride=w * 2 + extra, offset=offset
        ),
        *(st.sampled_from(["mask", "alpha", "depth", "rgb"]), st.sampled_from(["GRAY8", "GRAY16", "RGB24", "x"])),
        *(number, number, st.integers(-3, 60), number),
    ),
    max_size=4,
)


@given(near_planes, st.integers(0, 4))
def test_planes_that_are_taken_lie_apart_from_each_other_in_their_slot(
    pool: SlotPool, planes: list[dict], slot: int
) -> None:
    picture = dataclasses.replace(pool.write(1, np.zeros((8, 8, 3), np.uint8), Message(MessageType.FRAME)), slot=slot)
    try:
        views = pool.planes(dataclasses.replace(picture, body={"planes": planes}))
    except BusError:
        return
    assert slot < COUNT or not views
    pool.view(dataclasses.replace(picture, slot=0, width=64, height=64, stride=192, payload_size=BYTES))[...] = 0
    for number, view in enumerate(views.values()):
        view[...] = number + 1  # nobody else's pixel changes
    for number, view in enumerate(views.values()):
        assert (view == number + 1).all()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "format", "width", "height", "stride", "offset"]), inner, max_size=6)
    ),
    max_leaves=8,
)


@given(json_values)
def test_no_json_of_planes_does_harm(pool: SlotPool, planes: object) -> None:
    try:
        views = pool.planes(Message(MessageType.FRAME, body={"planes": planes}))
    except BusError:
        return
    assert views == {}


def test_memory_that_could_shrink_under_us_is_refused() -> None:
    fd = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, COUNT * BYTES)
    with pytest.raises(BusError, match="not sealed"):
        SlotPool(fd, COUNT, BYTES)
    os.close(fd)


def test_memory_of_another_size_or_kind_is_refused(tmp_path) -> None:
    fd = create_memory(COUNT, BYTES)
    with pytest.raises(BusError, match="is not 4 slots"):
        SlotPool(fd, COUNT + 1, BYTES)
    for count, size in [(0, BYTES), (17, BYTES), (COUNT, 0), (COUNT, -1)]:
        with pytest.raises(BusError, match="slots of"):
            SlotPool(fd, count, size)
    os.close(fd)
    with open(tmp_path / "file", "w+b") as file, pytest.raises(BusError, match=r"not a memfd|not sealed"):
        SlotPool(file.fileno(), COUNT, BYTES)


def test_a_slot_is_filled_by_one_side_at_a_time() -> None:
    ledger = SlotLedger(2)
    taken = {ledger.take(), ledger.take()}
    assert taken == {0, 1}
    assert ledger.take() is None
    ledger.give_back(1)
    assert ledger.out == 1
    for slot in (1, 2, 65_535):
        with pytest.raises(BusError, match="was not out"):
            ledger.give_back(slot)
    assert ledger.take() == 1
