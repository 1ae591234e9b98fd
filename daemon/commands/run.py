"""`driftcam run`: one run from a source into sinks."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from driftcam.daemon.commands.parameters import add_flags, given
from driftcam.daemon.config.specs import SINKS, SOURCES
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.engine_options import BACKENDS, PIPELINES, PRECISIONS, EngineOptions
from driftcam.engines.api.model_files import SOLVERS, ModelFiles, parse_loras

STOPPED = 1  # exit status of a run that was ended before there was anything


def add(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser("run", help="from a source, through the model, into sinks")
    run.add_argument("--source", required=True, metavar="KIND[:WHICH]", help=" or ".join(SOURCES.values()))
    sinks = f"{' or '.join(SINKS.values())}; may be repeated"
    run.add_argument("--sink", required=True, action="append", dest="sinks", metavar="KIND[:WHICH]", help=sinks)
    add_flags(run, without=("width", "height"))
    run.add_argument("--style-image", type=Path, metavar="PATH", help="a picture whose style is used")
    run.add_argument("--size", metavar="auto|N|WxH", help="of the model's picture, or auto: the largest that runs live")
    run.add_argument("--frames", type=int, metavar="N", help="end after so many")
    run.add_argument("--compare", action="store_true", help="files show the source beside the result")
    run.add_argument("--listen", metavar="HOST:PORT", help="address of the page (127.0.0.1:8900)")
    run.add_argument("--weights", type=Path, metavar="FOLDER", help="a Stable Diffusion checkpoint (diffusers layout)")
    run.add_argument("--vae", type=Path, metavar="FOLDER", help="another autoencoder for the checkpoint, such as TAESD")
    run.add_argument("--solver", default="auto", metavar="|".join(SOLVERS), help="of the model; an LCM-LoRA needs lcm")
    run.add_argument("--lora", action="append", default=[], metavar="PATH[:WEIGHT]", help="for the checkpoint")
    run.add_argument(
        "--pipeline", default="auto", metavar="|".join(PIPELINES), help="stream: steps of several frames at once"
    )
    run.add_argument("--backend", default="auto", metavar="|".join(BACKENDS), help="what runs the networks")
    run.add_argument(
        "--anchor",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a picture whose palette and strokes hold for the whole stream; several may be given",
    )
    run.add_argument("--device", type=int, default=0, metavar="N", help="number of the graphics card, from 0")
    run.add_argument("--precision", default="auto", metavar="|".join(PRECISIONS), help="of the networks")
    run.add_argument("--report", type=Path, metavar="PATH", help="write speed and memory as JSON")
    run.set_defaults(main=main)


def _parameters(options: argparse.Namespace, model: ModelFiles) -> Parameters:
    """Raises `ParameterError`, also for what the model cannot do."""
    from driftcam.daemon.changes import changed

    changes = given(options)
    if options.anchor:
        from driftcam.daemon.pictures import read_picture
        from driftcam.engines.api.anchors import anchor_of

        changes["anchors"] = [anchor_of(read_picture(path, "anchor")) for path in options.anchor]
    parameters = changed(Parameters(), changes) if changes else Parameters()
    parameters.check_model(model.kind)
    return parameters


def _engine_options(options: argparse.Namespace) -> EngineOptions:
    model = ModelFiles(options.weights, options.vae, parse_loras(options.lora), options.solver)
    return EngineOptions(model, options.pipeline, options.backend, options.device, options.precision)


def main(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises `ParameterError` or `RunError`."""
    from driftcam.daemon.commands.progress import ProgressBar
    from driftcam.daemon.config.specs import parse_model_size
    from driftcam.daemon.run import DEFAULT_LISTEN, Options, run_async

    if arguments.frames is not None and arguments.frames < 1:
        raise ParameterError("frames", arguments.frames, "give a whole number from 1")
    if arguments.report is not None and not arguments.report.parent.is_dir():
        raise ParameterError("report", str(arguments.report), f"there is no folder {str(arguments.report.parent)!r}")
    engine_options = _engine_options(arguments)
    options = Options(
        source=arguments.source,
        sinks=tuple(arguments.sinks),
        parameters=_parameters(arguments, engine_options.model),
        size=(parse_model_size(arguments.size) or "auto") if arguments.size else None,
        style_image=arguments.style_image,
        frames=arguments.frames,
        compare=arguments.compare,
        listen=arguments.listen or DEFAULT_LISTEN,
        engine_options=engine_options,
    )
    progress = ProgressBar()

    def say(line: str) -> None:
        progress.clear()
        print(f"driftcam: {line}", file=sys.stderr, flush=True)

    async def until_signal() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        report = await run_async(
            options,
            stop=stop,
            notify=say,
            on_progress=progress,
            on_page=lambda address: say(f"the page is at {address}"),
        )
        _write_report(arguments.report, report.to_dict())
        if not report.frames:
            say("stopped before the first picture; nothing was written")
            return STOPPED
        say(f"{report.frames} frames at {report.fps:.1f} fps")
        return 0

    try:
        return asyncio.run(until_signal())
    finally:
        progress.clear()


def _write_report(path: Path | None, report: dict) -> None:
    if path is None:
        return
    try:
        path.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise ParameterError("report", str(path), f"it cannot be written ({error.strerror})") from None
