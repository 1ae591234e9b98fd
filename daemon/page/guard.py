"""Who may talk to the page's server: a browser on a page of ours, or a program on this machine. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from daemon.specs import is_loopback

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def refusal(host: str | None, origin: str | None) -> str | None:
    """Why a request is refused, or None.

    A name that is not this machine's in `Host` is DNS rebinding: a foreign page whose name was pointed here.
    An `Origin` other than the host is a foreign page calling across.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if not host or not name or not is_loopback(name):
        return f"Host: {host!r} is not this machine; open the page at the address that was printed"
    if origin is not None and _host_of(origin) != host.lower():
        return f"Origin: {origin!r} may not use this server"
    return None


def _host_of(origin: str) -> str:
    """`HOST:PORT` of an origin, empty where there is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
