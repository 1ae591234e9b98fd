"""One connection: what comes in, what goes out, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamTrack
from aiortc.rtcicetransport import RTCIceCandidate

from driftcam.webrtc.audio import AudioOut, Microphone
from driftcam.webrtc.operation import Refused
from driftcam.webrtc.sdp import Offer, Role, with_formats, with_start_bitrate
from driftcam.webrtc.settings import Settings
from driftcam.webrtc.stream import Participant
from driftcam.webrtc.video import VideoIn, VideoOut

CHECK_EVERY = 1.0
CLOSE_TIMEOUT = 5.0
CERTIFICATES = "certificates may be P-256, P-384, P-521 or RSA"
logger = logging.getLogger(__name__)


class Peer:
    """Negotiated by `answer`; ends by `close`, by itself when the other side has gone, and says so by `on_end`.

    Attributes:
        id: random; whoever knows it may change or end the peer.
        etag: of its description, which never changes.
        reason: why it ended, for people.
        replaced: another publisher took over.
    """

    def __init__(
        self,
        role: Role,
        name: str,
        stream: Participant,
        microphone: Microphone,
        settings: Settings,
        on_end: Callable[[Peer], None],
    ) -> None:
        self.id, self.etag = secrets.token_urlsafe(24), f'"{secrets.token_hex(8)}"'
        self.role, self.name, self.reason, self.replaced = role, name, "", False
        self.created = time.monotonic()
        self._stream, self._microphone, self._settings, self._on_end = stream, microphone, settings, on_end
        servers = [RTCIceServer(list(s.urls), s.username, s.credential) for s in settings.ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))  # none at all asks a public server
        self._tasks: set[asyncio.Task] = set()
        self._undo: list[Callable[[], None]] = []
        self._ending: asyncio.Task | None = None
        self._ufrag = ""
        self._candidates = 0
        self._video_in: VideoIn | None = None
        self._video_out: VideoOut | None = None
        self._heard = time.monotonic()
        self._received = 0

    @property
    def connected(self) -> bool:
        return self._connection.connectionState == "connected"

    @property
    def publishes(self) -> bool:
        return self.role is not Role.VIEWER

    async def answer(self, offer: Offer) -> str:
        """The answer with all of our candidates. Raises `Refused`; the peer has ended then."""
        self._ufrag = offer.ufrag
        self._connection.on("track", self._on_track)
        self._connection.on("connectionstatechange", self._on_state)
        try:
            for kind, direction in offer.directions:
                self._add_media(kind, direction)
            await self._connection.setRemoteDescription(RTCSessionDescription(offer.text, "offer"))
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except OperationError:
            await self.close("nothing in common")
            raise Refused(406, f"offer one of {', '.join(self._settings.codecs)} for video, Opus for audio") from None
        except Exception as error:  # the library raises whatever it stumbles over
            logger.info("an offer could not be used: %r", error)
            await self.close("the offer could not be used")
            raise Refused(400, "the offer could not be used") from None
        except BaseException:
            await self.close("negotiation failed")
            raise
        self._watch(self._guard())
        answer = with_formats(self._connection.localDescription.sdp, offer.formats)
        return with_start_bitrate(answer, self._settings.bitrates.start)

    async def add_candidates(self, candidates: list[RTCIceCandidate]) -> None:
        """Candidates that came later. Raises `Refused`."""
        self._candidates += len(candidates)
        if self._candidates > 256:
            raise Refused(422, "that are too many candidates")
        for candidate in candidates:
            with contextlib.suppress(ValueError):
                await self._connection.addIceCandidate(candidate)

    @property
    def ufrag(self) -> str:
        return self._ufrag

    def end(self, reason: str) -> asyncio.Task:
        """Begin to close, once; the first reason counts."""
        if self._ending is None:
            self.reason = reason
            self._ending = asyncio.create_task(self._close())
        return self._ending

    async def close(self, reason: str) -> None:
        await asyncio.shield(self.end(reason))

    async def _close(self) -> None:
        """Whatever the library raises meanwhile: its place at the stream and among the peers is free afterwards."""
        try:
            for undo in self._undo:
                undo()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._connection.close()
        except Exception as error:
            logger.warning("a connection did not close well: %r", error)
        finally:
            try:
                await self._stream.leave()
            finally:
                self._on_end(self)

    def _add_media(self, kind: str, direction: str) -> None:
        track: MediaStreamTrack | None = None
        if direction in ("sendonly", "sendrecv"):
            track = self._video_track() if kind == "video" else self._audio_track()
        transceiver = self._connection.addTransceiver(track or kind, direction)
        if kind == "video":
            wanted = [f"video/{codec}" for codec in self._settings.codecs]
            known = [c for c in RTCRtpSender.getCapabilities("video").codecs]
            chosen = [c for mime in wanted for c in known if c.mimeType == mime]
            transceiver.setCodecPreferences([*chosen, *(c for c in known if c.mimeType == "video/rtx")])

    def _video_track(self) -> VideoOut:
        self._video_out = VideoOut()
        self._undo.append(self._stream.listen(self._video_out.show))
        return self._video_out

    def _audio_track(self) -> AudioOut:
        track = AudioOut(lambda: self._video_out.latency.median() / 1000 if self._video_out else 0.0)
        self._undo.append(self._microphone.listen(track.hear))
        return track

    def _on_track(self, track: MediaStreamTrack) -> None:
        if not self.publishes:
            return
        if track.kind == "video":
            self._video_in = VideoIn(track, self._stream.offer)
            self._watch(self._video_in.run())
        else:
            self._watch(self._microphone.run(track, self._stream.hear))

    def _on_state(self) -> None:
        connection = self._connection
        if connection.connectionState == "closed":
            self.end("the other side has gone")
        elif connection.connectionState == "failed" and connection.iceConnectionState == "completed":
            logger.warning("a peer's encryption could not be agreed on (DTLS): %s", CERTIFICATES)
            self.end(f"the encryption (DTLS) could not be agreed on: {CERTIFICATES}")
        elif connection.connectionState == "failed":
            self.end("the network between us failed")

    async def _guard(self) -> None:
        """Ends the peer when it does not connect, or falls silent."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            now = time.monotonic()
            if not self.connected:
                if now - self.created > self._settings.connect_timeout:
                    self.end("no connection came about in time")
                continue
            received = self._bytes_received()
            if received != self._received:
                self._received, self._heard = received, now
            if now - self._heard > self._settings.silence_timeout:
                self.end("nothing came any more")

    def _bytes_received(self) -> int:
        transports = {t.receiver.transport for t in self._connection.getTransceivers()}
        return sum(s.bytesReceived for t in transports for s in t._get_stats().values())

    def _watch(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a peer failed", exc_info=error)
            self.end("an error here; the log says more")

    async def status(self) -> dict[str, Any]:
        """For people and the page: state, sizes, rates, losses, latency."""
        now = time.monotonic()
        report: dict[str, Any] = {
            "id": self.id[:8],
            "role": self.role.value,
            "session": self.name,
            "state": self._connection.connectionState,
            "seconds": round(now - self.created, 1),
        }
        if self._video_in is not None:
            width, height = self._video_in.size
            report["in"] = {"fps": round(self._video_in.rate.value(now), 1), "width": width, "height": height}
        if self._video_out is not None:
            latency = round(self._video_out.latency.median(), 1)
            report["out"] = {"fps": round(self._video_out.rate.value(now), 1), "latency_ms": latency}
        return report
