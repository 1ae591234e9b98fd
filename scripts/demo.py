"""The main job on the shipped clip: demo/out.mp4, demo/sheet.png, demo/report.json, then the live page.

make demo            DEMO_SERVE=0 make demo ends instead of serving
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from driftcam import Engine, Parameters
from driftcam.daemon.commands.progress import ProgressBar
from driftcam.daemon.run import Options, Report, run_async
from driftcam.engines.api.sizes import model_size
from driftcam.engines.api.styles import STYLE_NAMES

CLIP = Path(__file__).parent / "clips" / "bigbuckbunny.mp4"
OUTPUT = Path("demo")
SHEET_FRAME = 60  # a frame of the clip that shows its whole subject
TILE = (320, 192)
COLUMNS = 6


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    clip, out = f"clip:{CLIP}", OUTPUT / "out.mp4"
    print(f"stylising {CLIP.name} …")
    options = Options(source=clip, sinks=(f"file:{out}",), compare=True)
    report = run(options, ProgressBar())
    (OUTPUT / "report.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    print(f"wrote {out}: {report.frames} frames at {report.fps:.1f} fps, source beside result")
    print(f"wrote {OUTPUT / 'report.json'}: {summary(report)}")
    cv2.imwrite(str(OUTPUT / "sheet.png"), contact_sheet(frame_of(CLIP, SHEET_FRAME))[..., ::-1])
    print(f"wrote {OUTPUT / 'sheet.png'}: all {len(STYLE_NAMES)} styles")
    if os.environ.get("DEMO_SERVE") != "0":
        run(Options(source=clip, sinks=("page",)), lambda progress: None)


def run(options: Options, on_progress: Callable) -> Report:
    """`driftcam run` until its end or Ctrl+C."""

    async def until_signal() -> Report:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await run_async(
            options,
            stop=stop,
            notify=print,
            on_progress=on_progress,
            on_page=lambda address: print(f"the live page is at {address} (Ctrl+C ends)", flush=True),
        )

    report = asyncio.run(until_signal())
    if isinstance(on_progress, ProgressBar):
        on_progress.clear()
    return report


def summary(report: Report) -> str:
    memory = sum(value or 0 for value in report.memory_peak_mb.values())
    frame = report.frame_ms
    return f"frame p50 {frame['p50']:.0f} ms, p95 {frame['p95']:.0f} ms; peak memory {memory:.0f} MB in two processes"


def contact_sheet(picture: np.ndarray) -> np.ndarray:
    """The picture in every style, with the names: painted large, for strokes are as wide in any size."""
    width, height = model_size(picture.shape[1], picture.shape[0], 512 * 512)
    engine = Engine(Parameters(width=width, height=height, noise="fixed"))
    tiles = [_tile(cv2.resize(picture, TILE, interpolation=cv2.INTER_AREA), "the clip")]
    for name in STYLE_NAMES:
        engine.update(engine.parameters.replace(styles=((name, 1.0),)))
        tiles.append(_tile(cv2.resize(engine.step(picture), TILE, interpolation=cv2.INTER_AREA), name))
    tiles += [np.full_like(tiles[0], 24)] * (-len(tiles) % COLUMNS)
    return np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])


def _tile(image: np.ndarray, words: str) -> np.ndarray:
    bar = np.full((24, image.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, words, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([image, bar])


def frame_of(clip: Path, index: int) -> np.ndarray:
    """One frame of a clip, RGB."""
    capture = cv2.VideoCapture(str(clip))
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    good, frame = capture.read()
    if not good:
        raise SystemExit(f"driftcam: {clip} has no frame {index}")
    return frame[..., ::-1]


if __name__ == "__main__":
    main()
