"""What a built engine says of itself: its plan has a readable part, while TensorRT opens an engine only with a GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass

from driftcam.engines.backends.tensorrt.builder import ShapeRange

_KINDS = {"half": "fp16", "bfloat16": "bf16", "float": "fp32"}


@dataclass(frozen=True)
class Tensor:
    """`shape` has None for a free axis."""

    shape: tuple[int | None, ...]
    kind: str


@dataclass(frozen=True)
class EngineText:
    """`free` are the (least, most) of the free axes."""

    target: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    free: set[tuple[int, int]]


def read(engine: bytes) -> EngineText:
    """Of an engine whose network became one kernel graph."""
    lines = re.findall(rb"[\x20-\x7e]{8,}", engine)
    text = "\n".join(line.decode() for line in lines)
    tensors = {}
    for dims, name, kind in re.findall(
        r'tensor=\{[^}]*?dims=\{ ([^}]*) \}[^\n]*? name="([^"]+)" [^\n]* type=(\w+) ', text
    ):
        tensors[name] = Tensor(tuple(int(d) if d.isdigit() else None for d in dims.split()), _KINDS.get(kind, kind))

    def named(which: str) -> dict[str, Tensor]:
        (found,) = re.findall(rf"^  {which}=\{{ ([^\n]*) \}}$", text, re.MULTILINE)[:1]
        names = [name for name in re.findall(r'"([^"]+)"', found) if "shapeInput" not in name]
        return {name.rpartition(".")[0]: tensors[name] for name in names}

    (target,) = set(re.findall(r"accelerators=\{(\w+) \}", text))
    ranges = re.findall(r"shape input value at index 0 is out of bounds \[(\d+), (\d+)\]", text)
    return EngineText(target, named("inputs"), named("outputs"), {(int(a), int(b)) for a, b in ranges})


def expected(profile: dict[str, ShapeRange], kind: str) -> tuple[dict[str, Tensor], set[tuple[int, int]]]:
    """Inputs and free axes that an engine for `profile` must have."""
    inputs, free = {}, set()
    for name, (least, _, most) in profile.items():
        ends = list(zip(least, most, strict=True))
        inputs[name] = Tensor(tuple(a if a == b else None for a, b in ends), kind)
        free |= {(a, b) for a, b in ends if a != b}
    return inputs, free
