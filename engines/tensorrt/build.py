"""From an ONNX graph to an engine for one GPU generation; needs no GPU."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engines.api.errors import ParameterError
from engines.network import NetworkSpec, Ranges
from engines.tensorrt.library import Library, load

TARGETS = {"sm75": "SM75", "sm80": "SM80", "sm86": "SM86", "sm89": "SM89", "sm120": "SM120", "current": "CURRENT"}

Progress = Callable[[str, float], None]
"""progress(phase, share of it that is done, 0 to 1)."""
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class BuildJob:
    """What to build.

    Attributes:
        network: its name, for messages.
        onnx: the graph; its precision is the engine's (strongly typed).
        target: one of `TARGETS`.
        precision: `fp32`, `fp16` or `bf16`, as exported.
        profile: least, typical and most shape of every input.
        refit: names of the weights that may be replaced in the finished engine. TensorRT asks for a GPU to build such
            an engine.
    """

    network: str
    onnx: Path
    target: str
    precision: str
    profile: Mapping[str, Shapes]
    refit: tuple[str, ...] = ()


def profile_of(spec: NetworkSpec, ranges: Ranges) -> dict[str, Shapes]:
    """Least, typical and most shape of every input over `ranges`."""
    sizes = ({name: values[k] for name, values in vars(ranges).items()} for k in range(3))
    least, typical, most = (spec.shapes(**size) for size in sizes)
    return {name: (least[name], typical[name], most[name]) for name in spec.inputs}


def parse_target(text: str) -> str:
    """A target's name from `sm89`, `SM_89` or `8.9`. Raises `ParameterError`."""
    name = text.strip().lower().replace("_", "").replace(".", "")
    name = name if name.startswith(("sm", "cur")) else f"sm{name}"
    if name not in TARGETS:
        raise ParameterError("target", text, f"choose from: {', '.join(TARGETS)}")
    return name


def precisions_of(target: str) -> tuple[str, ...]:
    """Those that TensorRT builds for a generation, the fastest that needs no care first."""
    if target == "sm75":
        return ("fp16",)  # Turing multiplies matrices in half precision alone here
    return ("fp16", "bf16", "fp32")


def build(job: BuildJob, progress: Progress | None = None) -> bytes:
    """The engine, built in a process of its own.

    After a build that failed TensorRT for RTX 1.7 fails for every other target in the same process, and a crash of the
    compiler must not take the stream along.

    Raises:
        ParameterError: an operator or a precision that the target does not have, or a build that failed; the message
            has TensorRT's own words.
    """
    if job.target != "current" and job.precision not in precisions_of(job.target):
        advice = f"{job.target} has here: {', '.join(precisions_of(job.target))}"
        raise ParameterError("precision", job.precision, advice)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(job, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return _result(ours, job, progress)
    finally:
        process.join(timeout=5)
        if process.is_alive():
            process.kill()


def _result(pipe: Connection, job: BuildJob, progress: Progress | None) -> bytes:
    """Pass on progress until the engine or the error comes."""
    while True:
        try:
            kind, *values = pipe.recv()
        except EOFError:
            raise ParameterError(
                "network", job.network, f"TensorRT's builder ended without a word for {job.target}; is memory short?"
            ) from None
        if kind == "engine":
            return values[0]
        if kind == "error":
            raise ParameterError(*values)
        if progress is not None:
            progress(*values)


def _serve(job: BuildJob, pipe: Connection) -> None:
    """The other process. Sends ("progress", phase, share), then ("engine", bytes) or ("error", field, value, advice)"""
    try:
        pipe.send(("engine", _build(job, lambda phase, share: pipe.send(("progress", phase, share)))))
    except ParameterError as error:
        pipe.send(("error", error.field, error.value, error.advice))


def _build(job: BuildJob, progress: Progress) -> bytes:
    library = load()
    trt = library.trt
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(library))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(job.onnx)):
        problems = [parser.get_error(k).desc() for k in range(parser.num_errors)]
        raise ParameterError("network", job.network, parser_advice(problems))
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)  # weights may stay in the computer's memory on a small card
    if job.refit:
        config.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
        for name in job.refit:
            network.mark_weights_refittable(name)
    if job.target != "current" or library.flavour == "tensorrt_rtx":
        _aim(library, config, job.target)
    profile = builder.create_optimization_profile()
    for name, shapes in job.profile.items():
        profile.set_shape(name, *shapes)
    config.add_optimization_profile(profile)
    config.progress_monitor = _monitor(trt, progress)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reason = logger.last or "no reason given"
        raise ParameterError(
            "network", job.network, f"TensorRT could not build it for {job.target} in {job.precision}: {reason}"
        )
    return bytes(engine)


def parser_advice(problems: Sequence[str]) -> str:
    """What to tell about a graph that TensorRT cannot read."""
    first = problems[0] if problems else "no reason given"
    return f"TensorRT cannot read its graph ({first}); run it with another backend, or report the operator"


def _network_flags(library: Library) -> int:
    """TensorRT for RTX is always strongly typed."""
    if library.flavour == "tensorrt_rtx":
        return 0
    return 1 << int(library.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _aim(library: Library, config: Any, target: str) -> None:
    """Build for another card than this machine's, which only TensorRT for RTX can."""
    trt = library.trt
    if not hasattr(trt, "ComputeCapability"):
        raise ParameterError("target", target, "only TensorRT for RTX builds for other cards; give current")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, TARGETS[target]), 0)


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):
        """Keeps the last error, which is the reason of a build that fails."""

        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.last = message

    return Logger()


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Passes on every phase."""

        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = max(steps, 1)
            progress(phase, 0.0)

        def step_complete(self, phase: str, step: int) -> bool:
            progress(phase, (step + 1) / self._steps[phase])
            return True

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)
            progress(phase, 1.0)

    return Monitor()
