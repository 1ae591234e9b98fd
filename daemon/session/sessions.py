"""The sessions of a daemon, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from driftcam.daemon.admission import Limits, refusal
from driftcam.daemon.engine.supervisor import Supervisor
from driftcam.daemon.measure import free_memory_mb
from driftcam.daemon.session.session import Session
from driftcam.engines.api import ParameterError, Parameters
from driftcam.webrtc.stream import DEFAULT_NAME, NAME

DEFAULT = DEFAULT_NAME


def checked_name(name: object) -> str:
    """Raises `ParameterError`."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ParameterError("session", name, "give at most 32 letters, digits and -")
    return name


class Sessions:
    """All share the engine process of `supervisor`; nothing else is shared between them.

    Attributes:
        auto_size: those that are opened without a size of their own get the largest that the machine runs live.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        notify: Callable[[str], None] = lambda line: None,
        limits: Limits = Limits(),  # noqa: B008 (it cannot be changed)
    ) -> None:
        self._supervisor, self._notify, self._limits = supervisor, notify, limits
        self._sessions: dict[str, Session] = {}
        self.auto_size = False

    def open(self, name: str, parameters: Parameters, *, live: bool = True, own_size: bool = False) -> Session:
        """A further session; frames may be offered at once, the engine takes them as soon as it can.

        `own_size`: that of `parameters` was asked for; else it may be left to the engine, see `auto_size`.

        Raises `ParameterError`: the name is taken or no name, or the machine cannot hold another session.
        """
        if checked_name(name) in self._sessions:
            raise ParameterError("session", name, "there is a session of this name; choose another or close it")
        if reason := refusal(self._limits, len(self), self._frame_ms(), self._free_mb()):
            raise ParameterError("session", name, reason)
        stream = self._supervisor.open(name, parameters, live=live, auto_size=self.auto_size and not own_size)
        session = self._sessions[name] = Session(name, parameters, stream, notify=self._notify)
        return session

    def _frame_ms(self) -> float:
        """Engine time of a frame, of the slowest session."""
        return max((session.engine_ms.recent() for session in self), default=0.0)

    def _free_mb(self) -> float | None:
        device = self._supervisor.engine.get("device_free_mb")
        return free_memory_mb() if device is None else float(device)

    def get(self, name: str) -> Session | None:
        return self._sessions.get(name)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    async def close(self, name: str) -> None:
        """Its source and sinks stay the callers'. Nothing happens when there is none of this name."""
        if (session := self._sessions.pop(name, None)) is not None:
            await session.close()

    async def close_all(self) -> None:
        """Each, whatever closing another one raises."""
        async with contextlib.AsyncExitStack() as closing:
            for name in list(self._sessions):
                closing.push_async_callback(self.close, name)
