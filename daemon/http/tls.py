"""HTTPS, which browsers want before they give their camera to a page from beyond their own machine."""

from __future__ import annotations

import ssl
from pathlib import Path

from driftcam.engines.api import ParameterError


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """For a server; None without a certificate. Blocking. Raises `ParameterError`."""
    if certificate is None or key is None:
        return None
    for name, path in (("tls_cert", certificate), ("tls_key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ParameterError(f"server.{name}", str(path), f"it cannot be read ({error.strerror})") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        advice = f"give a PEM certificate and its key without a password ({error})"
        raise ParameterError("server.tls_cert", str(certificate), advice) from None
    return context
