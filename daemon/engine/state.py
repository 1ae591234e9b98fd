"""What the engine process is doing, and what may follow what. Pure decisions, the clock passed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EngineState(StrEnum):
    """As people are shown it."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    BROKEN = "broken"  # it ended too often; it is left alone for a while, or until somebody asks for a restart
    STOPPED = "stopped"


FOLLOWS: dict[EngineState, frozenset[EngineState]] = {
    EngineState.STARTING: frozenset({EngineState.READY, EngineState.RESTARTING, EngineState.STOPPED}),
    EngineState.READY: frozenset({EngineState.RESTARTING, EngineState.STOPPED}),
    EngineState.RESTARTING: frozenset({EngineState.READY, EngineState.BROKEN, EngineState.STOPPED}),
    EngineState.BROKEN: frozenset({EngineState.RESTARTING, EngineState.STOPPED}),
    EngineState.STOPPED: frozenset(),
}


def transition(state: EngineState, by: EngineState) -> EngineState:
    """`by`, if it may follow `state` or is the same. Raises `ValueError`: the caller is wrong."""
    if by is not state and by not in FOLLOWS[state]:
        raise ValueError(f"an engine that is {state} cannot become {by}")
    return by


@dataclass(frozen=True)
class Timeouts:
    """How long the supervisor waits, in seconds, and how often it tries.

    Attributes:
        start: until a new process must be ready (libraries and networks are loaded and compiled).
        answer: until a process must have dealt with a frame or a request.
        heartbeat: between two questions to a process whether it is well.
        backoff, backoff_most: wait before the second restart in a row, doubled each time up to the most; the first
            comes at once.
        tries: ends in a row without a result after which a stream, or the engine, is `broken`.
        rest: how long a broken engine is left alone before it is tried once more.
        spare: seconds of calm after which a process is loaded from which the next engines are forked; None for none.
    """

    start: float = 600.0
    answer: float = 30.0
    heartbeat: float = 2.0
    backoff: float = 0.25
    backoff_most: float = 8.0
    tries: int = 4
    rest: float = 60.0
    spare: float | None = None


def restart_delay(timeouts: Timeouts, failures: int) -> float:
    """Seconds before the next start, after `failures` ends in a row without a result between them."""
    return min(timeouts.backoff * 2 ** (failures - 2), timeouts.backoff_most) if failures > 1 else 0.0


def hangs(timeouts: Timeouts, now: float, owing_since: float | None, last_heard: float, results_waiting: int) -> bool:
    """Whether a process is stuck: it owes us something for too long, and not because it waits for us."""
    if owing_since is None or results_waiting:
        return False
    return now - max(owing_since, last_heard) > timeouts.answer
