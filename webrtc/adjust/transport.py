"""Transport: a vanished peer is noticed within seconds, and clients with RSA certificates can connect."""

from __future__ import annotations

from typing import Any

from aioice import ice
from aiortc import rtcdtlstransport
from aiortc.rtcdtlstransport import RTCCertificate

CONSENT_INTERVAL, CONSENT_FAILURES = 1, 4  # RFC 7675: seconds between checks, and how many may stay unanswered
CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA"
)
_create_ssl_context = RTCCertificate._create_ssl_context
_get_fingerprints = RTCCertificate.getFingerprints


def adjust_transport() -> None:
    timing: Any = ice
    timing.CONSENT_INTERVAL, timing.CONSENT_FAILURES = CONSENT_INTERVAL, CONSENT_FAILURES
    certificate: Any = rtcdtlstransport.RTCCertificate
    certificate._create_ssl_context = _with_rsa
    certificate.getFingerprints = _only_sha256


def _with_rsa(self: RTCCertificate, srtp_profiles: Any) -> Any:
    """GStreamer's certificate is an RSA one."""
    context = _create_ssl_context(self, srtp_profiles)
    context.set_cipher_list(CIPHERS)
    return context


def _only_sha256(self: RTCCertificate) -> Any:
    """libdatachannel, which OBS uses, fails at times when there are several."""
    return [fingerprint for fingerprint in _get_fingerprints(self) if fingerprint.algorithm == "sha-256"]
