"""The addresses under which other machines reach this one."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import ifaddr


def lan_addresses() -> list[str]:
    """IPv4 addresses that are not this machine's alone, those of home networks first."""
    found = {
        ip.ip
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str)
        and not (parsed := ipaddress.ip_address(ip.ip)).is_loopback
        and not parsed.is_link_local
    }
    return sorted(found, key=lambda text: (not text.startswith("192.168."), not text.startswith("10."), text))


def reachable(page: str) -> list[str]:
    """The addresses to open for a server that listens at `page`: all of this machine's where it listens to all."""
    parts = urlsplit(page)
    if parts.hostname not in ("0.0.0.0", "::"):
        return [page]
    return [f"{parts.scheme}://{host}:{parts.port}/" for host in ("localhost", *lan_addresses())]
