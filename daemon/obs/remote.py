"""OBS at the other end of its websocket (protocol 5, in OBS since version 28)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import obswebsocket
import websocket
from obswebsocket import requests
from obswebsocket.exceptions import ConnectionFailure, MessageTimeout

from driftcam.daemon.errors import RunError

DEFAULT_PORT = 4455
NOT_READY = 207
VENDOR = "driftcam"


class Refused(RunError):
    """OBS answered a request with an error. `code` is that of the obs-websocket protocol, `comment` its reason."""

    def __init__(self, request: str, code: int, comment: str) -> None:
        self.code, self.comment = code, comment
        super().__init__(f"OBS refused {request}: {comment or f'code {code}'}")


class _Answers(dict):
    """The library keeps of an answer only whether it is good; this also remembers why not."""

    status: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def pop(self, key: str) -> Any:  # type: ignore[override]
        answer = super().pop(key)
        self.status = answer["requestStatus"]
        return answer


class Remote:
    """A connection. One thread may call at a time. Raises `RunError` where OBS cannot be reached."""

    def __init__(self, password: str, port: int = DEFAULT_PORT, host: str = "127.0.0.1", timeout: float = 10.0) -> None:
        self._client = obswebsocket.obsws(host, port, password, legacy=False, timeout=timeout)
        self._client.answers = self._answers = _Answers()
        try:
            self._client.connect()
        except (ConnectionFailure, websocket.WebSocketException, ValueError, KeyError, OSError) as error:
            raise RunError(_why_no_connection(error, host, port)) from None

    def call(self, request: str, *, patience: float = 10.0, **data: Any) -> dict[str, Any]:
        """The answer to `request`. Waits up to `patience` seconds for an OBS that is still starting or changing scenes.

        Raises `Refused`, and `RunError` when OBS has gone.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = self._client.call(getattr(requests, request)(**data))
            except (MessageTimeout, websocket.WebSocketException, OSError) as error:
                raise RunError(f"OBS does not answer any more ({error})") from None
            if answer.status:
                return answer.datain or {}
            code = int(self._answers.status.get("code", 0))
            if code != NOT_READY or time.monotonic() > deadline:
                raise Refused(request, code, str(self._answers.status.get("comment", "")))
            time.sleep(0.1)

    def vendor(self, request: str, **data: Any) -> dict[str, Any]:
        """Ask Driftcam's plugin. Raises `Refused` when it is not loaded or says no."""
        values: dict[str, Any] = {"requestData": data} if data else {}
        answer = self.call("CallVendorRequest", vendorName=VENDOR, requestType=request, **values)
        response: dict[str, Any] = answer.get("responseData", {})
        if not response.get("ok"):
            raise Refused(f"driftcam {request}", 0, str(response.get("error", "")))
        return response

    def listen(self, callback: Callable[[str, dict[str, Any]], None]) -> None:
        """`callback` gets name and data of every event, on a thread of the connection's own."""
        self._client.register(lambda event: callback(event.name, event.datain))

    def close(self) -> None:
        """Leave OBS."""
        self._client.disconnect()


def _why_no_connection(error: Exception, host: str, port: int) -> str:
    text = str(error)
    if "refused" in text.lower():
        return (
            f"nothing answers at {host}:{port}: start OBS 28 or newer and switch on Tools → WebSocket Server Settings "
            "→ Enable WebSocket server"
        )
    if "password" in text or "authentication" in text.lower() or "4009" in text or "already closed" in text:
        return "OBS refused the password: it is in Tools → WebSocket Server Settings → Show Connect Info"
    return f"what answers at {host}:{port} is not the websocket of OBS 28 or newer ({text or type(error).__name__})"
