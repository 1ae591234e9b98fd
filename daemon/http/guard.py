"""Who may talk to the server: a browser on a page of ours, or a program that knows the address. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from driftcam.daemon.config.specs import is_loopback

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def refusal(host: str | None, origin: str | None, *, local: bool = True, names: Collection[str] = ()) -> str | None:
    """Why a request is refused, or None.

    A foreign name in `Host` is DNS rebinding: a foreign page whose name was pointed here. A server that is only
    reached from this machine (`local`) knows the names of this machine itself; one beyond also any address, as
    rebinding needs a name, and the configured `names`. An `Origin` other than the host is a foreign page calling
    across.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if not host or not name or not (is_loopback(name) or name in names or (not local and _is_address(name))):
        return f"Host: {host!r} is not this machine; open the page at the address that was printed"
    if is_foreign(host, origin):
        return f"Origin: {origin!r} may not use this server"
    return None


def is_foreign(host: str, origin: str | None) -> bool:
    """Whether a page of another origin asks."""
    return origin is not None and _host_of(origin) != host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _host_of(origin: str) -> str:
    """`HOST:PORT` of an origin, empty where there is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
