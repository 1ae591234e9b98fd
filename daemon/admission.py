"""Whether the machine can hold a further session. Pure decisions from what was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """When a further session is refused.

    Attributes:
        most: sessions at once.
        least_fps: what each must be able to get, by the measured time of a frame.
        session_mb: memory that a further session takes, in MiB.
        spare_mb: memory that must be left then.
    """

    most: int = 8
    least_fps: float = 2.0
    session_mb: float = 300.0
    spare_mb: float = 300.0


def refusal(limits: Limits, open_now: int, frame_ms: float, free_mb: float | None) -> str:
    """Why there is no room for a further session, or empty.

    Args:
        open_now: sessions that are open.
        frame_ms: engine time of a frame; 0 while none was measured.
        free_mb: memory that is left, None where it is not known.
    """
    if open_now >= limits.most:
        return f"{limits.most} sessions are open, which is the most; close one"
    if open_now and frame_ms and 1000 / (frame_ms * (open_now + 1)) < limits.least_fps:
        fps = 1000 / (frame_ms * (open_now + 1))
        return (
            f"a frame takes {frame_ms:.0f} ms, so that each of {open_now + 1} sessions would get {fps:.1f} a second, "
            f"less than {limits.least_fps:g}; close a session, or choose a smaller size or fewer steps"
        )
    if open_now and free_mb is not None and free_mb - limits.session_mb < limits.spare_mb:
        return (
            f"{free_mb:.0f} MB of memory are left, and a session takes {limits.session_mb:.0f}; "
            "close a session or another program"
        )
    return ""
