"""From one preset to another in a given time, with the real engine: what a viewer sees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from driftcam.daemon.engine.state import Timeouts
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.session.session import Session
from driftcam.daemon.sources.pattern import draw
from driftcam.engines.api import Parameters
from tests.daemon.http_daemon import daemon_in, until

FRAME = 100_000_000  # ns; the way is as long in frames however slow the machine is
DARK = Parameters(width=128, height=128, steps=1, styles=(("inferno", 1.0),), strength=0.8)
LIGHT = DARK.replace(styles=(("seafoam", 1.0),), strength=0.6)


class Still:
    """A scene that stands still, and the mean luminance of each picture that is made of it."""

    def __init__(self, session: Session) -> None:
        self._session, self._sent = session, 0
        self._scene = cv2.resize(draw(0), (DARK.width, DARK.height))
        self.luminance: list[float] = []
        session.listen(self._take)

    def _take(self, result: Result) -> None:
        self.luminance.append(float(cv2.cvtColor(result.image, cv2.COLOR_RGB2GRAY).mean()))

    async def show(self, frames: int) -> list[float]:
        """One after the other; what became of them."""
        with self._session.ingest.claim("test") as lease:
            for _ in range(frames):
                self._sent += 1
                await lease.submit(Picture(self._scene, self._sent * FRAME, self._sent * FRAME))
                await until(lambda: len(self.luminance) == self._sent, 60)
        return self.luminance[-frames:]


async def test_luminance_goes_from_one_preset_to_the_other_without_a_flash(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, None, Timeouts()) as daemon, daemon.client() as client:
        session = daemon.core.sessions.open("still", DARK, live=False, own_size=True)
        await session.opened()
        daemon.context.presets.save("light", LIGHT)
        still = Still(session)
        before = (await still.show(12))[-1]
        assert (await client.post("/api/presets/light?session=still&travel=1")).status == 200
        way = np.array(await still.show(30))
        assert session.control.parameters == LIGHT  # and its travel with it
        whole = way[-1] - before
        steps = np.diff([before, *way]) / whole
        assert abs(whole) > 10, (before, way)
        assert steps.min() > -0.05 and steps.max() < 0.35, steps
        assert 0.1 < (way[4] - before) / whole < 0.9, steps  # half of the way
        await session.control.change({"styles": DARK.styles, "strength": DARK.strength})
        (at_once,) = await still.show(1)
        assert (at_once - before) / whole < 0.25  # this one is not faded to
