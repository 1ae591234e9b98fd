"""From an ONNX graph to an engine for one GPU generation; needs no GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engines.api.errors import ParameterError
from engines.export import NetworkSpec, Ranges
from engines.tensorrt.library import Library, load

TARGETS = {"sm75": "SM75", "sm80": "SM80", "sm86": "SM86", "sm89": "SM89", "sm120": "SM120", "current": "CURRENT"}
HALF_ONLY = ("sm75",)  # Turing multiplies matrices in half precision alone here

Progress = Callable[[str, float], None]
"""progress(phase, share of it that is done, 0 to 1)."""


def parse_target(text: str) -> str:
    """A target's name from `sm89`, `SM_89` or `8.9`. Raises `ParameterError`."""
    name = text.strip().lower().replace("_", "").replace(".", "")
    name = name if name.startswith(("sm", "cur")) else f"sm{name}"
    if name not in TARGETS:
        raise ParameterError("target", text, f"choose from: {', '.join(TARGETS)}")
    return name


def build(
    spec: NetworkSpec, onnx: Path, target: str, precision: str, ranges: Ranges, progress: Progress | None = None
) -> bytes:
    """The engine of an exported network.

    Precision lies in the graph (strongly typed). The module's weights keep their names and can be replaced in the
    finished engine (`REFIT_INDIVIDUAL`: plain `REFIT` asks for a GPU while it builds), and may stay in the computer's
    memory where the card's is small (weight streaming).

    Raises:
        ParameterError: an operator or a precision that the target does not have, or a build that failed; the message
            has TensorRT's own words.
    """
    if target in HALF_ONLY and precision == "fp32":
        raise ParameterError("precision", precision, f"{target} needs fp16")
    if target in HALF_ONLY and precision == "bf16":
        raise ParameterError("precision", precision, f"{target} has no bfloat16; give fp16")
    library = load()
    trt = library.trt
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(library))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        problems = [parser.get_error(k) for k in range(parser.num_errors)]
        raise ParameterError("network", spec.name, parser_advice([p.desc() for p in problems]))
    for name in dict(spec.module.state_dict()):
        network.mark_weights_refittable(name)
    config = builder.create_builder_config()
    for flag in ("REFIT_INDIVIDUAL", "WEIGHT_STREAMING"):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if target != "current" or library.flavour == "tensorrt_rtx":
        _aim(library, config, target)
    config.add_optimization_profile(_profile(builder, spec, ranges))
    if progress is not None:
        config.progress_monitor = _monitor(trt, progress)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reason = logger.last or "no reason given"
        raise ParameterError("network", spec.name, f"TensorRT could not build it for {target} in {precision}: {reason}")
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


def _profile(builder: Any, spec: NetworkSpec, ranges: Ranges) -> Any:
    profile = builder.create_optimization_profile()
    least, typical, most = (spec.shapes(**{name: values[k] for name, values in vars(ranges).items()}) for k in range(3))
    for name in spec.inputs:
        profile.set_shape(name, least[name], typical[name], most[name])
    return profile


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
        """Passes on the outermost phase."""

        def __init__(self) -> None:
            super().__init__()
            self._phases: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._phases[phase] = max(steps, 1)
            progress(phase, 0.0)

        def step_complete(self, phase: str, step: int) -> bool:
            progress(phase, (step + 1) / self._phases[phase])
            return True

        def phase_finish(self, phase: str) -> None:
            self._phases.pop(phase, None)
            progress(phase, 1.0)

    return Monitor()
