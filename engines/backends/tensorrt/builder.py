"""The process that builds one engine. It imports no torch, so that it starts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.progress import Progress
from driftcam.engines.backends.tensorrt.library import Library, load

TARGETS = {name: name.upper() for name in ("sm75", "sm80", "sm86", "sm89", "sm90", "sm120", "current")}

ShapeRange = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Least, typical and most."""


@dataclass(frozen=True)
class BuildJob:
    """What to build.

    Attributes:
        network: its name, for messages.
        onnx: the graph; its precision is the engine's (strongly typed).
        target: one of `TARGETS`.
        precision: one of `engines.backends.export.PRECISIONS`, as exported.
        profile: least, typical and most shape of every input.
        refit: names of the weights that may be replaced in the finished engine. TensorRT asks for a GPU to build such
            an engine.
    """

    network: str
    onnx: Path
    target: str
    precision: str
    profile: Mapping[str, ShapeRange]
    refit: tuple[str, ...] = ()


def serve(job: BuildJob, pipe: Connection) -> None:
    """Build in this process.

    Sends ("progress", phase, share) often, then ("engine",) and the engine's bytes, or ("error", field, value, advice).
    """
    try:
        engine = _build(job, lambda phase, share: pipe.send(("progress", phase, share)))
        pipe.send(("engine",))
        pipe.send_bytes(engine)
    except ParameterError as error:
        pipe.send(("error", error.field, error.value, error.advice))


def _build(job: BuildJob, progress: Progress) -> Any:
    library = load()
    trt = library.trt
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(library))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(job.onnx)):
        errors = [parser.get_error(k) for k in range(parser.num_errors)]
        problems = [f"operator {e.node_operator() or '?'} at {e.node_name() or '?'}: {e.desc()}" for e in errors]
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
    return engine


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
    if problem := target_problem(library, target):
        raise ParameterError("target", target, problem)
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, TARGETS[target]), 0)


def target_problem(library: Library, target: str) -> str:
    """Why `library` cannot build for one of `TARGETS`, or empty."""
    if not hasattr(library.trt, "ComputeCapability"):
        return "" if target == "current" else "only TensorRT for RTX builds for other cards; give current"
    if hasattr(library.trt.ComputeCapability, TARGETS[target]):
        return ""
    return (
        f"TensorRT for RTX {library.version} has no code for {target} (sm90 are H100 and H200, no RTX cards); "
        "the backend torch-cuda runs on them, and so does TensorRT itself: pip install tensorrt"
    )


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
