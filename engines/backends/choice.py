"""Which backend runs the networks on this machine, and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from driftcam.engines.api.engine_options import BACKENDS, check_choice
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.nvidia import DriverFacts, ask_driver, problem_of


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        driver: of the graphics card.
        tensorrt: why TensorRT cannot be used, or empty.
        torch_cuda: why torch cannot use the card, or empty.
    """

    driver: DriverFacts
    tensorrt: str
    torch_cuda: str


@dataclass(frozen=True)
class Choice:
    backend: str
    reason: str


def choose(wanted: str, ask: Callable[[], Facts], device: int = 0) -> Choice:
    """The backend for `wanted` on card `device`; `ask` is called only where the answer depends on the machine.

    Raises:
        ParameterError: an unknown name, a backend that this machine cannot run, or a card that it does not have.
    """
    check_choice("backend", wanted, BACKENDS)
    if wanted in ("openvino", "torch"):
        return _on_the_processor(wanted, "as asked for", device)
    facts = ask()
    problem = _problem_of_card(facts.driver, device)
    problems = {"tensorrt": problem or facts.tensorrt, "torch-cuda": problem or facts.torch_cuda}
    if wanted != "auto":
        if problems[wanted]:
            raise ParameterError("backend", wanted, f"{problems[wanted]}; auto takes what this machine can run")
        return Choice(wanted, "as asked for")
    card = facts.driver.cards[device].name if facts.driver.cards else ""
    if not problems["tensorrt"]:
        return Choice("tensorrt", f"{card} and TensorRT are usable")
    if not problems["torch-cuda"]:
        return Choice("torch-cuda", f"{card} is usable, TensorRT is not ({problems['tensorrt']})")
    return _on_the_processor("openvino", "; ".join(dict.fromkeys(problems.values())), device)


def _on_the_processor(backend: str, reason: str, device: int) -> Choice:
    """Raises `ParameterError` where a card was asked for."""
    if device:
        raise ParameterError("device", device, f"{backend} runs on the processor ({reason}); leave device out")
    return Choice(backend, reason)


def _problem_of_card(driver: DriverFacts, device: int) -> str:
    """Why card `device` cannot be used, or empty. Raises `ParameterError` for a card that is not there."""
    if device >= max(1, len(driver.cards)):
        cards = ", ".join(f"{number} ({card.name})" for number, card in enumerate(driver.cards))
        advice = f"this machine has: {cards}" if cards else f"{driver.problem}; leave device out"
        raise ParameterError("device", device, advice)
    return driver.problem or problem_of(driver.cuda, driver.cards[device : device + 1])


def gather(device: int = 0) -> Facts:
    """Asks this machine, for one of its cards."""
    driver = ask_driver()
    if driver.problem:
        return Facts(driver, driver.problem, driver.problem)
    target = driver.cards[device].target if device < len(driver.cards) else "current"
    return Facts(driver, tensorrt_problem(target), torch_cuda_problem())


def tensorrt_problem(target: str = "current") -> str:
    """Why TensorRT and what runs its engines cannot be loaded, or not be used on a card of that target; or empty."""
    missing = [name for name in ("onnxscript", "filelock", "cuda") if importlib.util.find_spec(name) is None]
    if missing:
        return f"TensorRT needs {', '.join(missing)}: pip install 'driftcam[rtx]'"
    from driftcam.engines.backends.tensorrt.builder import TARGETS, target_problem
    from driftcam.engines.backends.tensorrt.library import load

    try:
        library = load()
    except ParameterError as error:
        return str(error)
    if library.flavour != "tensorrt_rtx" or target not in TARGETS:
        return ""  # it builds on the card itself, for what that is
    return target_problem(library, target)


def torch_cuda_problem() -> str:
    """Why torch cannot use a card, or empty."""
    import torch

    if torch.version.cuda is None:
        return "torch was built without CUDA"
    return "" if torch.cuda.is_available() else "torch finds no usable card"
