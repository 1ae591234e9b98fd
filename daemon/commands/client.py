"""Talks to a running daemon over its API, from another process."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from driftcam.daemon.errors import RunError
from driftcam.engines.api import ParameterError

TIMEOUT = 60.0


def add_address(parser: argparse.ArgumentParser) -> None:
    """Which daemon."""
    parser.add_argument("--url", metavar="URL", help="of the daemon, instead of what the configuration says")
    parser.add_argument("--token-file", type=Path, metavar="PATH", help="with the daemon's token")
    parser.add_argument("--session", metavar="NAME", default="live", help="which session (live)")


class Daemon:
    """A running daemon. Every method blocks and raises `ParameterError` for what the daemon refuses, or `RunError`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.url, token_file = _address(options)
        self._session = options.session
        self._headers = {"Content-Type": "application/json"}
        self._context = _tls(self.url, this_machine=not options.url)
        if token_file is not None:
            from driftcam.daemon.http.token import read

            with contextlib.suppress(FileNotFoundError):  # without one the daemon says whether it wants one
                self._headers["Authorization"] = f"Bearer {read(token_file)}"

    def get(self, path: str, **query: Any) -> Any:
        return self._json("GET", path, query)

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """`body` is sent as JSON, bytes as they are."""
        return self._json(method, path, query, body if body is None or isinstance(body, bytes) else json.dumps(body))

    def data(self, path: str, **query: Any) -> bytes:
        """What is no JSON."""
        return self._ask("GET", path, query, None)

    def _json(self, method: str, path: str, query: dict[str, Any], body: str | bytes | None = None) -> Any:
        answer = self._ask(method, path, query, body)
        try:
            return json.loads(answer) if answer else None
        except ValueError:
            raise RunError(f"what answers at {self.url} is not Driftcam") from None

    def _ask(self, method: str, path: str, query: dict[str, Any], body: str | bytes | None) -> bytes:
        values = {"session": self._session} | query
        address = f"{self.url}{path}?{urllib.parse.urlencode(values)}"
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(address, data, self._headers, method=method)
        # No proxy: the daemon is on this machine or beside it.
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context)]
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise RunError(_words(error)) from None
        except urllib.error.URLError as error:
            raise RunError(self._unreachable(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise RunError(self._unreachable(error)) from None

    def _unreachable(self, reason: object) -> str:
        if isinstance(reason, ConnectionRefusedError):
            return f"no daemon answers at {self.url}; start it: driftcam serve, or systemctl --user start driftcam"
        return f"no daemon answers at {self.url} ({reason})"


def _words(error: urllib.error.HTTPError) -> str:
    """Of a refusal, for people."""
    with error:
        try:
            return str(json.loads(error.read())["message"])
        except (ValueError, KeyError, TypeError):
            return f"the daemon answered {error.code} {error.reason}"


def _address(options: argparse.Namespace) -> tuple[str, Path | None]:
    """URL and token file: as told, or as the configuration says. Raises `ParameterError` or `ConfigError`."""
    if options.url:
        parts = urllib.parse.urlsplit(options.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ParameterError("url", options.url, "write http://HOST:PORT")
        return options.url.rstrip("/"), options.token_file
    from driftcam.daemon.config.file import load
    from driftcam.daemon.config.folders import config_file
    from driftcam.daemon.config.specs import parse_address

    server = load(config_file(), os.environ).server
    host, port = parse_address(server.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if server.speaks_tls else "http"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return url, options.token_file or server.token_file


def _tls(url: str, this_machine: bool) -> ssl.SSLContext:
    """The daemon's certificate is often its own, which is checked wherever the token could reach somebody else."""
    context = ssl.create_default_context()
    if this_machine or urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
