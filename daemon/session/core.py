"""What every daemon has, whatever it is controlled by: one supervised engine process and the sessions in it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from driftcam.daemon.admission import Limits
from driftcam.daemon.engine.local import LocalEngines
from driftcam.daemon.engine.state import Timeouts
from driftcam.daemon.engine.supervisor import Supervisor
from driftcam.daemon.session.sessions import Sessions

NOTICES = 5


class Core:
    """Made inside the event loop, where it starts the engine process; then open sessions, finally `close`.

    Attributes:
        supervisor, sessions: see there.
        notices: the last lines for people.
        alive: done when the engine is given up, with a `RunError`; only where a session is not live.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        notify: Callable[[str], None],
        timeouts: Timeouts | None = None,
        limits: Limits = Limits(),  # noqa: B008 (it cannot be changed)
        model: str | None = None,
    ) -> None:
        self._tell = notify
        self.notices: deque[str] = deque(maxlen=NOTICES)
        engines = LocalEngines(command, (timeouts or Timeouts()).spare)
        self.supervisor = Supervisor(engines, notify=self.notify, timeouts=timeouts, model=model)
        self.sessions = Sessions(self.supervisor, notify=self.notify, limits=limits)
        # The process loads its libraries while the caller prepares the rest.
        self.alive = asyncio.create_task(self.supervisor.keep_alive())

    def notify(self, line: str) -> None:
        """Tell people."""
        self.notices.append(line)
        self._tell(line)

    async def close(self) -> None:
        """End the sessions and the engine process."""
        try:
            await self.sessions.close_all()
        finally:
            self.alive.cancel()
            await asyncio.gather(self.alive, return_exceptions=True)
            await self.supervisor.close()
