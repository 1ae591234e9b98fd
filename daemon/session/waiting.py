"""Why there is no picture, and from when on people are to be told. Pure, the clock passed in."""

from __future__ import annotations

from driftcam.daemon.engine.state import EngineState

KEEP = 2.0  # seconds that the last picture serves at least


def why_no_picture(
    now: float,
    *,
    last_result: float | None,
    last_frame: float | None,
    engine: EngineState,
    reason: str,
    source: str,
    frames_pause: float = KEEP,
    results_pause: float = KEEP,
) -> str:
    """What to show instead of results, or empty while the last one still serves.

    Args:
        now, last_result, last_frame: monotonic seconds; None where there was none yet.
        engine: as the session sees it.
        reason: why the engine is not ready, as far as it is known.
        source: who gives frames, or empty.
        frames_pause, results_pause: seconds that are usual between them: slides, or a slow engine, are no trouble.
    """
    if last_result is not None and now - last_result < KEEP:
        return ""
    match engine:
        case EngineState.BROKEN:
            return f"The engine is broken: {reason}. Change a setting or restart the engine."
        case EngineState.RESTARTING:
            return f"The engine is started again: {reason}" if reason else "The engine is started again"
        case EngineState.STARTING:
            return f"The engine is starting: {reason}" if reason else "The engine is starting"
    if last_frame is None or now - last_frame >= frames_pause:
        return f"No picture comes from {source}" if source else "Waiting for a source"
    if last_result is not None and (last_result >= last_frame or now - last_result < results_pause):
        return ""
    return "The engine is busy"
