"""From RTP packets to encoded frames, without waiting longer than it helps. Pure: the clock is passed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import RtpPacket

HEAD_OF_LINE = 0.15  # seconds that a frame waits for a packet that was lost
PLI_EVERY = 0.3  # seconds between requests for a key frame
AUDIO_AHEAD = 3  # packets of sound behind a missing one until it is given up
NACK_EVERY, NACK_TRIES = 0.04, 4
VP8_START_CODE = b"\x9d\x01\x2a"  # RFC 6386, 9.1
H264_IDR = 5


class EncodedFrame(JitterFrame):
    """One encoded frame, and those that became complete with it."""

    def __init__(self, data: bytes, timestamp: int) -> None:
        super().__init__(data, timestamp)
        self.rtp_timestamp = timestamp  # aiortc counts `timestamp` from the start of the stream instead
        self.later: list[EncodedFrame] = []


def is_key(data: bytes) -> bool:
    """Whether a decoder can begin with this VP8 or H.264 (Annex B) frame."""
    if data.startswith(b"\0\0\0\1"):
        position = 0
        while (position := data.find(b"\0\0\1", position)) >= 0 and position + 3 < len(data):
            position += 3
            if data[position] & 0x1F == H264_IDR:
                return True
        return False
    return len(data) >= 10 and data[0] & 1 == 0 and data[3:6] == VP8_START_CODE


class JitterBuffer:
    """Takes the place of `aiortc.jitterbuffer.JitterBuffer`, with the same constructor and `add`.

    Video: a frame leaves with its last packet (the RTP marker) instead of the first of the next frame. After
    `HEAD_OF_LINE` the frames behind a lost packet are given up, a key frame is asked for and waited for, so that no
    broken picture is shown. Sound: every packet is a frame.
    """

    def __init__(
        self, capacity: int, prefetch: int = 0, is_video: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity, self._is_video, self._clock = capacity, is_video, clock
        self._packets: dict[int, RtpPacket] = {}  # by sequence number, unwrapped
        self._next = -1  # the first packet that has not left; -1 before the first
        self._newest = 0
        self._missing: tuple[int, float] | None = None  # the first packet that is missed, and since when
        self._wants_key = is_video
        self._headless = False  # the start of the next frame was lost
        self._last_pli = 0.0

    def add(self, packet: RtpPacket) -> tuple[bool, EncodedFrame | None]:
        """Whether a key frame is to be asked for, and what became complete."""
        now = self._clock()
        if self._next < 0:
            self._next = self._newest = packet.sequence_number + 0x10000
            self._last_pli = now  # most streams begin with a key frame
        number = self._newest + (packet.sequence_number - self._newest + 0x8000) % 0x10000 - 0x8000
        if abs(number - self._newest) >= self._capacity:  # the sender began anew, or nearly everything was lost
            self._packets.clear()
            self._next = self._newest = number
            self._wants_key = self._is_video
        if number < self._next:
            return self._asks_for_key(now), None
        self._packets[number] = packet
        self._newest = max(self._newest, number)
        if not self._is_video:
            return False, _chained(list(self._sound_packets()))
        frames = list(self._complete_frames())
        if not frames and self._gave_up(now):
            frames = list(self._complete_frames())
        self._note_missing(now)
        return self._asks_for_key(now), _chained(frames)

    def _sound_packets(self) -> Iterator[EncodedFrame]:
        if self._packets and self._next not in self._packets and len(self._packets) >= AUDIO_AHEAD:
            self._next = min(self._packets)
        while (packet := self._packets.pop(self._next, None)) is not None:
            self._next += 1
            if packet._data:  # type: ignore[attr-defined]
                yield EncodedFrame(packet._data, packet.timestamp)  # type: ignore[attr-defined]

    def _complete_frames(self) -> Iterator[EncodedFrame]:
        while (end := self._end_of_frame(self._next)) is not None:
            packets = [self._packets.pop(number) for number in range(self._next, end)]
            self._next = end
            data = b"".join(packet._data for packet in packets)  # type: ignore[attr-defined]
            if not data:  # padding, sent to probe the network
                continue
            headless, self._headless = self._headless, False
            if headless or (self._wants_key and not is_key(data)):
                continue
            self._wants_key = False
            yield EncodedFrame(data, packets[0].timestamp)

    def _end_of_frame(self, start: int) -> int | None:
        """The number behind the last packet of the frame that begins at `start`, None while it is incomplete."""
        number = start
        while (packet := self._packets.get(number)) is not None:
            if packet.timestamp != self._packets[start].timestamp:
                return number
            number += 1
            if packet.marker:
                return number
        return None

    def _note_missing(self, now: float) -> None:
        number = next((n for n in range(self._next, self._newest) if n not in self._packets), None)
        if number is None:
            self._missing = None
        elif self._missing is None or self._missing[0] != number:
            self._missing = number, now

    def _gave_up(self, now: float) -> bool:
        """Go on behind the missing packet, when it was waited for long enough or a key frame is behind it."""
        if self._missing is None:
            return False
        missing, since = self._missing
        start = self._complete_key_frame()
        if start is None and now - since < HEAD_OF_LINE:
            return False
        self._headless = start is None
        if start is None:
            start = min(number for number in self._packets if number > missing)
        for number in [number for number in self._packets if number < start]:
            del self._packets[number]
        self._next, self._missing, self._wants_key = start, None, True
        return True

    def _complete_key_frame(self) -> int | None:
        """Where the newest complete key frame begins."""
        for start in sorted(self._packets, reverse=True):
            before = self._packets.get(start - 1)
            if start == self._next or before is None:
                continue
            if (before.marker or before.timestamp != self._packets[start].timestamp) and (
                end := self._end_of_frame(start)
            ) is not None:
                data = b"".join(self._packets[n]._data for n in range(start, end))  # type: ignore[attr-defined]
                if is_key(data):
                    return start
        return None

    def _asks_for_key(self, now: float) -> bool:
        if not self._wants_key or now - self._last_pli < PLI_EVERY:
            return False
        self._last_pli = now
        return True


def _chained(frames: list[EncodedFrame]) -> EncodedFrame | None:
    if not frames:
        return None
    frames[0].later = frames[1:]
    return frames[0]


class RetryingNack(NackGenerator):
    """Takes the place of `aiortc.rtcrtpreceiver.NackGenerator`, which asks for a lost packet only once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._asked: dict[int, tuple[float, int]] = {}  # when, and how often

    def add(self, packet: RtpPacket) -> bool:
        """Whether to ask for everything that is `missing`."""
        missed = super().add(packet)
        if not self.missing:
            self._asked.clear()
            return False
        now = self._clock()
        due = missed or any(now - self._asked.get(number, (now, 0))[0] >= NACK_EVERY for number in self.missing)
        if not due:
            return False
        tries = {number: self._asked.get(number, (now, 0))[1] + 1 for number in self.missing}
        self.missing = {number for number in self.missing if tries[number] <= NACK_TRIES}
        self._asked = {number: (now, tries[number]) for number in self.missing}
        return bool(self.missing)
