"""Which backend runs the networks on this machine, and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.nvidia import Driver, ask_driver

BACKENDS = ("auto", "tensorrt", "torch-cuda", "openvino", "torch")


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        driver: of the graphics card.
        tensorrt: why TensorRT cannot be used, or empty.
        torch_cuda: why torch cannot use the card, or empty.
    """

    driver: Driver
    tensorrt: str
    torch_cuda: str


@dataclass(frozen=True)
class Choice:
    backend: str
    reason: str


def choose(wanted: str, ask: Callable[[], Facts]) -> Choice:
    """The backend for `wanted`; `ask` is called only where the answer depends on the machine.

    Raises:
        ParameterError: an unknown name, or a backend that this machine cannot run.
    """
    if wanted not in BACKENDS:
        raise ParameterError("backend", wanted, f"choose from: {', '.join(BACKENDS)}")
    if wanted in ("openvino", "torch"):
        return Choice(wanted, "as asked for")
    facts = ask()
    problems = {"tensorrt": facts.tensorrt, "torch-cuda": facts.torch_cuda}
    if wanted != "auto":
        if problems[wanted]:
            raise ParameterError("backend", wanted, f"{problems[wanted]}; auto takes what this machine can run")
        return Choice(wanted, "as asked for")
    card = facts.driver.cards[0].name if facts.driver.cards else ""
    if not problems["tensorrt"]:
        return Choice("tensorrt", f"{card} and TensorRT are usable")
    if not problems["torch-cuda"]:
        return Choice("torch-cuda", f"{card} is usable, TensorRT is not ({problems['tensorrt']})")
    return Choice("openvino", "; ".join(dict.fromkeys(problems.values())))


def gather() -> Facts:
    """Asks this machine."""
    driver = ask_driver()
    if driver.problem:
        return Facts(driver, driver.problem, driver.problem)
    return Facts(driver, tensorrt_problem(), torch_cuda_problem())


def tensorrt_problem() -> str:
    """Why TensorRT and what runs its engines cannot be loaded, or empty."""
    missing = [name for name in ("onnxscript", "filelock", "cuda") if importlib.util.find_spec(name) is None]
    if missing:
        return f"TensorRT needs {', '.join(missing)}: pip install 'driftcam[rtx]'"
    from driftcam.engines.backends.tensorrt.library import load

    try:
        load()
    except ParameterError as error:
        return str(error)
    return ""


def torch_cuda_problem() -> str:
    """Why torch cannot use a card, or empty."""
    import torch

    if torch.version.cuda is None:
        return "torch was built without CUDA"
    return "" if torch.cuda.is_available() else "torch finds no usable card"
