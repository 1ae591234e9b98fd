"""What this machine has for running networks. Nothing is built and nothing is changed."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.findings import Finding
from driftcam.engines.backends.choice import Choice, choose, gather, tensorrt_problem, torch_cuda_problem
from driftcam.engines.backends.folders import cache_folder
from driftcam.engines.backends.nvidia import DriverFacts, ask_driver

# What speeds the networks up, as the kernel spells it.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
_NVENC = "nvEncodeAPI64.dll" if os.name == "nt" else "libnvidia-encode.so.1"


def facts() -> list[Finding]:
    """Every fact, the choice last."""
    driver = ask_driver()
    return [
        processor(),
        openvino(),
        graphics(driver),
        driver_version(driver),
        cuda(),
        tensorrt(),
        torch_device(),
        nvenc(driver),
        kernels(),
        cache(),
        model(),
        choice(choose("auto", gather)),
    ]


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Finding:
    """Model, threads and the vector instructions that count."""
    try:
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
        values = {key.strip(): value.strip() for key, value in lines.items()}
    except OSError:
        values = {}
    has = set((values.get("flags") or values.get("Features") or "").split())
    name = values.get("model name") or platform.processor() or platform.machine()
    found = ", ".join(feature for feature in _FEATURES if feature in has) or "vector instructions unknown"
    return Finding("CPU", "good", f"{name}, {os.cpu_count()} threads, {found}")


def openvino() -> Finding:
    try:
        import openvino as ov
        import openvino.properties as props
    except ImportError as error:
        return Finding("OpenVINO", "bad", f"cannot be imported ({error})", "reinstall driftcam")
    core = ov.Core()
    names = [f"{device} ({core.get_property(device, props.device.full_name)})" for device in core.available_devices]
    if "CPU" not in core.available_devices:
        return Finding("OpenVINO", "bad", f"{ov.__version__} without a CPU device", "reinstall openvino")
    return Finding("OpenVINO", "good", f"{ov.__version__.split('-')[0]}: {', '.join(names)}")


def graphics(driver: DriverFacts) -> Finding:
    if not driver.cards:
        return Finding("GPU", "absent", driver.problem)
    cards = "; ".join(f"{card.name}, {card.target}, {card.memory / 1e9:.0f} GB" for card in driver.cards)
    return Finding("GPU", "bad" if driver.problem else "good", cards, driver.problem)


def driver_version(driver: DriverFacts) -> Finding:
    if driver.cuda == (0, 0):
        return Finding("NVIDIA driver", "absent", driver.problem)
    return Finding("NVIDIA driver", "good", f"runs CUDA {driver.cuda[0]}.{driver.cuda[1]}")


def cuda() -> Finding:
    """What compiles and launches our kernels."""
    versions = {name: _version(name) for name in ("cuda-python", "nvidia-cuda-nvrtc")}
    missing = [name for name, version in versions.items() if not version]
    if missing:
        return Finding("CUDA", "absent", f"without {' and '.join(missing)}", "pip install 'driftcam[rtx]'")
    return Finding("CUDA", "good", ", ".join(f"{name} {version}" for name, version in versions.items()))


def tensorrt() -> Finding:
    problem = tensorrt_problem()
    if problem:
        return Finding("TensorRT", "absent", problem)
    from driftcam.engines.backends.folders import engines_folder
    from driftcam.engines.backends.tensorrt.cache import EngineCache
    from driftcam.engines.backends.tensorrt.prepare import library_name

    entries = list(EngineCache(engines_folder()).entries())
    damaged = sum(bool(entry.problem) for entry in entries)
    advice = f"{damaged} damaged: driftcam engine prune" if damaged else ""
    return Finding("TensorRT", "good", f"{library_name()}, {len(entries)} engines in {engines_folder()}", advice)


def torch_device() -> Finding:
    import torch

    problem = torch_cuda_problem()
    return Finding("torch", "good", f"{torch.__version__}, " + (f"CPU ({problem})" if problem else "CUDA"))


def nvenc(driver: DriverFacts) -> Finding:
    """The card's video encoder, for H.264 to browsers."""
    if driver.problem:
        return Finding("NVENC", "absent", driver.problem)
    try:
        ctypes.CDLL(_NVENC)
    except OSError:
        return Finding("NVENC", "absent", f"{_NVENC} is not installed", "install the driver's encode library")
    import av

    if "h264_nvenc" not in av.codecs_available:
        return Finding("NVENC", "absent", f"PyAV {av.__version__} was built without it")
    return Finding("NVENC", "good", "h264_nvenc")


def kernels() -> Finding:
    """Whether what numba compiles is kept."""
    from driftcam.engines import kernels, numba_kernels  # noqa: F401 (the second makes all of them)

    if kernels.problem:
        return Finding("kernels", "bad", "compiled anew at each start, a quarter of a minute", kernels.ADVICE)
    return Finding("kernels", "good", "kept between starts")


def cache() -> Finding:
    """Whether networks and measurements are kept."""
    folder = cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError:
        return Finding("cache", "bad", f"{folder} cannot be written", "set XDG_CACHE_HOME to a folder that can be")
    return Finding("cache", "good", str(folder))


def model() -> Finding:
    """The weights are whole."""
    from driftcam.engines.models.embedded.model import WEIGHTS, load_networks

    try:
        load_networks(WEIGHTS)
    except ParameterError as error:
        return Finding("embedded model", "bad", str(error), "reinstall driftcam")
    return Finding("embedded model", "good", str(WEIGHTS))


def choice(made: Choice) -> Finding:
    return Finding("networks run on", "good", f"{made.backend}: {made.reason}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
