"""Live sources under everything that cameras and networks do: `python -m scripts.chaos.live --seconds 600 --seed 1`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.chaos.senders import KINDS, SIZES, Sender, sending
from scripts.chaos.victim import Victim, daemon_in

RETURNS_S = 2.0  # the picture after good data, and the end after SIGTERM
PICTURES = 4  # so many a format may need until the first is shown: a slow camera is given their time
COMES_LEAST = 0.5  # of the pictures, on a machine that has other things to do
FAULTS_A_LIFE = 8
STANDIN = "tests.daemon.standin:Engine"


def rate(sender: Sender, rng: random.Random) -> None:
    """More or fewer pictures a second, with times that agree or not."""
    sender.fps, sender.speed = rng.choice([2, 5, 8, 12, 20, 25, 30, 60]), rng.choice([1, 1, 0, 0.1, 0.5, 3])
    sender.jump(0)


def jump(sender: Sender, rng: random.Random) -> None:
    """Times go back or ahead."""
    sender.jump(rng.choice([-3600, -10, -1, 1, 10, 3600]))


def size(sender: Sender, rng: random.Random) -> None:
    """In the middle of the stream."""
    sender.resize(rng.choice(SIZES))


def gap(sender: Sender, rng: random.Random) -> None:
    """Connected and silent."""
    sender.silent = True
    time.sleep(rng.choice([0.3, 1, 3, 8]))
    sender.jump(0)  # from here on it can be decoded
    sender.silent = False


def restart(sender: Sender, rng: random.Random) -> None:
    """Gone, and back as another one."""
    sender.stop()
    time.sleep(rng.choice([0, 0.2, 1, 3, 7]))
    sender.size = rng.choice(SIZES)
    sender.start()


def truncation(sender: Sender, rng: random.Random) -> None:
    """Cut and damaged for a while."""
    sender.spoiled = rng.choice([0.1, 0.5, 1])
    time.sleep(rng.uniform(0.5, 3))
    sender.spoiled = 0
    sender.jump(0)


def bursts(sender: Sender, rng: random.Random) -> None:
    """Nothing, and then everything at once."""
    pause = rng.choice([0.2, 0.7, 1.5])
    for _ in range(rng.randint(1, 4)):
        sender.holding = True
        time.sleep(pause)
        sender.holding = False
        time.sleep(1 / sender.fps)


FAULTS: tuple[Callable[[Sender, random.Random], None], ...] = (rate, jump, size, gap, restart, truncation, bursts)


@dataclass
class Report:
    """How it went.

    Attributes:
        lives: of the daemon, each with a camera of another kind.
        returns_s: by fault, seconds until the picture was back.
        stops_s: from SIGTERM to the daemon's end.
        problems: what must not be; empty is good.
    """

    lives: int = 0
    returns_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stops_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "lives": self.lives,
            "faults": sum(map(len, self.returns_s.values())),
            "returns_s_most": {name: round(max(values), 2) for name, values in self.returns_s.items()},
            "stops_s_most": round(max(self.stops_s), 2),
            "problems": self.problems,
        }


def fuzz(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    engine: str = STANDIN,
    faults: int = FAULTS_A_LIFE,
    within: float = RETURNS_S,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """For `seconds`; `faults` in each life, after which the picture must be back `within` s of good data."""
    rng, report = random.Random(seed), Report()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind = KINDS[(seed + report.lives) % len(KINDS)]
        report.lives += 1
        home = folder / str(report.lives)
        home.mkdir()
        with sending(kind, rng) as sender, daemon_in(home, engine) as victim:
            rate(sender, rng)
            start(victim, sender)
            for fault in (None, *rng.choices(FAULTS, k=faults)):
                if fault is not None:
                    fault(sender, rng)
                _look(victim, sender, fault.__name__ if fault is not None else "start", within, report, say)
            if rng.random() < 0.5:
                sender.silent = True
                time.sleep(rng.uniform(0, 3))
            _stop(victim, kind, within, report, say)
    return report


def _look(
    victim: Victim, sender: Sender, fault: str, within: float, report: Report, say: Callable[[str], None]
) -> None:
    """Whether the picture comes back, and then stays."""
    within += PICTURES / sender.fps
    took = _picture_after(victim, sender)
    report.returns_s[fault].append(took)
    say(f"{sender.kind:<8}{fault:<11}{sender.fps:3g}/s ×{sender.speed:<4g}{took:6.2f} s")
    after = f"after {fault} at {sender.fps:g}/s, times ×{sender.speed:g}"
    if took > within:
        report.problems.append(f"{sender.kind}: no picture for {took:.1f} s {after}")
    time.sleep(max(0, within - took))
    if (share := _share_that_comes(victim, sender)) < COMES_LEAST:
        report.problems.append(f"{sender.kind}: {share:.0%} of the pictures come {after}")


def _stop(victim: Victim, kind: str, within: float, report: Report, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    status, took = victim.stop(), time.monotonic() - began
    report.stops_s.append(took)
    say(f"{kind:<8}stopped{'':19}{took:6.2f} s")
    if status != 0:
        report.problems.append(f"{kind}: the daemon ended with status {status}")
    if took > within:
        report.problems.append(f"{kind}: {took:.1f} s until it was stopped")
    if victim.tracebacks():
        report.problems.append(f"{kind}: a traceback in the log\n{victim.last_words()}")


def start(victim: Victim, sender: Sender) -> None:
    """The daemon is told of the camera."""
    victim.write_config(source=f"url:{sender.address}")
    victim.process.send_signal(1)


def _picture_after(victim: Victim, sender: Sender, patience: float = 15) -> float:
    """Seconds from now until two further pictures were shown, at most `patience`."""
    begin = time.monotonic()
    before = victim.state()
    while time.monotonic() - begin < patience:
        state = victim.state()
        if state["source"].endswith(sender.address) and state["delivered"] >= before["delivered"] + 2:
            break
        victim.check_alive()
        time.sleep(0.02)
    return time.monotonic() - begin


def _share_that_comes(victim: Victim, sender: Sender) -> float:
    """Of the pictures that are sent."""
    before, sent = victim.state()["received"], sender.sent
    time.sleep(max(1, PICTURES / sender.fps))
    return (victim.state()["received"] - before + 1) / max(1, sender.sent - sent)


def main() -> int:
    parser = argparse.ArgumentParser(description="live sources under everything that cameras and networks do")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", default=STANDIN, metavar="MODULE:CLASS", help="instead of a quick stand-in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = fuzz(
            Path(folder),
            seconds=options.seconds,
            seed=options.seed,
            engine=options.engine,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(json.dumps(report.to_dict(), indent=2))
    return bool(report.problems)


if __name__ == "__main__":
    sys.exit(main())
