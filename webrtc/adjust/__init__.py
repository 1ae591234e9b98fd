"""Adjustments to aiortc, which is made for correctness before latency. Each names what it replaces.

They hold for the whole process and are made once, before the first connection. `tests/webrtc/test_adjustments.py`
checks that every replaced name still exists, and aiortc's version is pinned in `constraints.txt`.
"""

from __future__ import annotations

from driftcam.webrtc.adjust.receiving import adjust_receiving
from driftcam.webrtc.adjust.sending import adjust_sending
from driftcam.webrtc.adjust.transport import adjust_transport
from driftcam.webrtc.settings import Bitrates

REPLACED = (
    ("aiortc.rtcrtpreceiver", "JitterBuffer"),
    ("aiortc.rtcrtpreceiver", "NackGenerator"),
    ("aiortc.rtcrtpreceiver", "decoder_worker"),
    ("aiortc.rtcrtpsender", "get_encoder"),
    ("aiortc.rtp", "HeaderExtensionsMap"),
    ("aiortc.codecs", "HEADER_EXTENSIONS"),
    ("aiortc.rtcdtlstransport", "RTCCertificate._create_ssl_context"),
    ("aiortc.rtcdtlstransport", "RTCCertificate.getFingerprints"),
    ("aioice.ice", "CONSENT_INTERVAL"),
    ("aioice.ice", "CONSENT_FAILURES"),
)


def adjust(bitrates: Bitrates) -> None:
    """Make all of them; a second call only changes the bitrates."""
    adjust_receiving()
    adjust_sending(bitrates)
    adjust_transport()
