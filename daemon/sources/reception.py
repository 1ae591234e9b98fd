"""What an address sends, read in a thread of its own, so that nobody else ever waits for a network."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import av

from driftcam.daemon.sources.media import NO_TIMES, in_ns, video_stream
from driftcam.daemon.sources.times import SECOND, Lead

PACKETS_MOST, BYTES_MOST = 2000, 64 << 20  # what may wait; a sender that is quicker waits itself
LEAD_NS, END_NS = 5 * SECOND, SECOND  # further ahead of the clock is a file, while it comes and when it ends
SEGMENTED = {"hls", "dash"}
CAMERA = "mpjpeg"  # pictures without end, whatever length the camera says
LOOK_S = 0.1
CLOSE_S = 0.3  # patience with the thread, so that a port is free again


class Arrival(NamedTuple):
    """A packet and the CLOCK_MONOTONIC ns at which it came."""

    packet: av.Packet
    at: int


class Reception:
    """Connects and reads from the beginning on, until the sender ends, it fails or is closed.

    FFmpeg's calls have a bound in time but cannot be interrupted: `close` leaves the thread to itself.

    Attributes, from `opened` on:
        container, video, audio: what is received.
        format: FFmpeg's name.
        timed: it brings times of its own, instead of some that FFmpeg makes up.
        segmented: it comes in pieces of several seconds.
        ends: it is a file, and not live.
    """

    video: av.VideoStream
    audio: av.AudioStream | None

    def __init__(self, connect: Callable[[], av.container.InputContainer], name: str) -> None:
        self._connect, self._name = connect, name
        self.container: av.container.InputContainer | None = None
        self._lead = Lead()
        self.format = ""
        self.timed = self.segmented = self._known_end = False
        self._packets: deque[Arrival] = deque()
        self._bytes = self._pictures = 0
        self._failure: Exception | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="driftcam-reception", daemon=True)
        self._thread.start()

    @property
    def ends(self) -> bool:
        """Its length is known, or more has come ahead of time than anybody keeps of a live stream."""
        return self._known_end or (self._lead.above(LEAD_NS) and not self.segmented)

    @property
    def waiting(self) -> int:
        """Pictures that have come and were not taken yet."""
        return self._pictures

    def opened(self, stop: threading.Event) -> None:
        """Wait until it is known what comes. Raises what connecting raised, or `EOFError`, also when stopped."""
        with self._changed:
            while self.container is None:
                if self._failure is not None:
                    raise self._failure
                if stop.is_set():
                    raise EOFError("stopped")
                self._changed.wait(LOOK_S)

    def take(self, stop: threading.Event, until: float) -> Arrival | None:
        """The next packet; None when stopped, or when none has come by `until`, in monotonic seconds.

        Raises what reading raised, or `EOFError` at the end.
        """
        with self._changed:
            while not self._packets:
                if self._failure is not None:
                    raise self._failure
                if stop.is_set() or time.monotonic() >= until:
                    return None
                self._changed.wait(LOOK_S)
            self._changed.notify_all()
            return self._taken()

    def skip(self) -> None:
        """To the newest picture from which decoding can begin, if there is one among those that wait."""
        with self._changed:
            keys = [n for n, (packet, _) in enumerate(self._packets) if self._is_picture(packet) and packet.is_keyframe]
            for _ in range(keys[-1] if keys else 0):
                self._taken()
            self._changed.notify_all()

    def close(self) -> None:
        """From the thread that takes. What was taken before must not be used any more."""
        with self._changed:
            self._closed = True
            self._packets.clear()
            self._changed.notify_all()
        self._thread.join(CLOSE_S)

    # -------------------------------------------------------------------------------------------

    def _taken(self) -> Arrival:
        arrival = self._packets.popleft()
        self._bytes -= arrival.packet.size
        self._pictures -= self._is_picture(arrival.packet)
        return arrival

    def _is_picture(self, packet: av.Packet) -> bool:
        return packet.stream is self.video and packet.size > 0

    def _run(self) -> None:
        """The thread. It alone opens and closes the container, which others use in between."""
        container = None
        try:
            container = self._connect()
            self.video = video_stream(container, self._name, threads="SLICE")
            self.audio = next(iter(container.streams.audio), None)
            self._describe(container)
            with self._changed:
                self.container = container
                self._changed.notify_all()
            for packet in container.demux([self.video, self.audio] if self.audio else [self.video]):
                if not self._put(packet):
                    break
            failure: Exception = EOFError("the stream ended")
        except Exception as error:  # whatever the library raises is told to whoever waits
            failure = error
        with self._changed:
            self._known_end |= self._lead.above(END_NS) and not self.segmented
            self._failure = failure
            self._changed.notify_all()
            while not self._closed:
                self._changed.wait()
        if container is not None:
            container.close()

    def _describe(self, container: av.container.InputContainer) -> None:
        self.format = container.format.name.split(",")[0]
        self.timed = not container.format.flags & NO_TIMES
        self.segmented = self.format in SEGMENTED
        sized = not self.segmented and self.format != CAMERA and container.size > 0
        self._known_end = bool(container.duration) or sized

    def _put(self, packet: av.Packet) -> bool:
        """False when nobody wants more."""
        arrival = Arrival(packet, time.monotonic_ns())
        with self._changed:
            if self._is_picture(packet) and packet.dts is not None and packet.time_base and self.timed:
                self._lead.came(in_ns(packet.dts, packet.time_base), arrival.at)
            while len(self._packets) >= PACKETS_MOST or self._bytes >= BYTES_MOST:
                if self._closed:
                    return False
                self._changed.wait()
            self._packets.append(arrival)
            self._bytes += packet.size
            self._pictures += self._is_picture(packet)
            self._changed.notify_all()
            return not self._closed
