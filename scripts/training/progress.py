"""Checkpoints, time-based schedules and moving averages shared by both training stages."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Run(Generic[Network]):
    """A resumable training run of a fixed number of minutes, which survive a restart.

    They are minutes of the processors that torch uses: on a machine that does other work, too, they take longer.
    """

    def __init__(self, folder: Path, name: str, modules: Network, optimiser: torch.optim.Optimizer, minutes: float):
        self.path = folder / f"{name}.pt"
        self.log_path = folder / f"{name}.json"
        self.modules, self.optimiser, self.budget = modules, optimiser, minutes * 60
        self.average = copy.deepcopy(modules).eval().requires_grad_(False)
        self.step, self.spent = 0, 0.0
        self.log: list[dict[str, Any]] = []
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            modules.load_state_dict(state["modules"])
            self.average.load_state_dict(state["average"])
            optimiser.load_state_dict(state["optimiser"])
            self.step, self.spent = state["step"], state["spent"]
            self.log = json.loads(self.log_path.read_text())
            print(f"{name}: resumed at step {self.step}, {self.spent / 60:.1f} min")
        self._tick, self._saved = _processor_seconds(), time.monotonic()

    @property
    def progress(self) -> float:
        return min(1.0, self.spent / self.budget)

    def set_learning_rate(self, peak: float, floor: float = 0.01, warmup: int = 200) -> None:
        """Linear warm-up, then a cosine over the time budget."""
        cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * self.progress))
        for group in self.optimiser.param_groups:
            group["lr"] = peak * cosine * min(1.0, (self.step + 1) / warmup)

    def update(self, decay: float = 0.999) -> None:
        """After an optimiser step: moving average, clock, a checkpoint every two minutes."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.modules.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)
        self.step += 1
        tick, now_s = _processor_seconds(), time.monotonic()
        self.spent += tick - self._tick
        self._tick = tick
        if now_s - self._saved > 120 or self.progress >= 1:
            self.save()
            self._saved = now_s

    def record(self, **values: float) -> None:
        self.log.append({"step": self.step, "minutes": round(self.spent / 60, 2), **values})
        print(json.dumps(self.log[-1]), flush=True)

    def save(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        state = {
            "modules": self.modules.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "spent": self.spent,
        }
        torch.save(state, temporary)
        temporary.replace(self.path)
        self.log_path.write_text(json.dumps(self.log))


def _processor_seconds() -> float:
    return time.process_time() / torch.get_num_threads()


def mixed() -> torch.autocast:
    """Half the precision where the processor has instructions for it; without them it is 20 times as slow."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.backends.cpu.get_cpu_capability().startswith("AVX512"))
