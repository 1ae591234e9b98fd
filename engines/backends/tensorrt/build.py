"""From an ONNX graph to an engine for one GPU generation; needs no GPU."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.network import NetworkSpec, Ranges
from driftcam.engines.backends.progress import Progress
from driftcam.engines.backends.tensorrt import builder
from driftcam.engines.backends.tensorrt.builder import TARGETS, BuildJob, ShapeRange


def profile_of(spec: NetworkSpec, ranges: Ranges) -> dict[str, ShapeRange]:
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
    if target in ("sm80", "sm86"):
        return ("fp16", "bf16", "fp32")
    return ("fp16", "bf16", "fp32", "fp8")  # Ada, Hopper, Blackwell and what comes after them


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
    process = context.Process(target=builder.serve, args=(job, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return _result(ours, job, progress)
    finally:
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()


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
            return pipe.recv_bytes()
        if kind == "error":
            raise ParameterError(*values)
        if progress is not None:
            progress(*values)
