"""INT8 by post-training quantisation (NNCF) against bfloat16: speed and quality of the embedded model in OpenVINO.

pip install nncf, then: python -m scripts.bench_int8 [--json] [--size 384] [--keep-sensitive]

Calibrated on crops of photographs that come with scikit-image, through the model's own pipeline; judged on others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import cycle, pairwise

import cv2
import nncf
import numpy as np
import openvino as ov
import skimage.data
import torch
import torch.nn.functional as F
from openvino.properties import hint
from torch import Tensor

from driftcam.engines.backends.base import examples, with_frames
from driftcam.engines.backends.network import NetworkSpec
from driftcam.engines.conditions.freedom import degrade
from driftcam.engines.conditions.style import STYLE_DIM
from driftcam.engines.models.embedded.model import embedded_specs

CALIBRATE, JUDGE = ("astronaut", "coffee", "chelsea", "rocket"), ("retina", "immunohistochemistry", "hubble_deep_field")
STYLES = 26
ROUNDS = 15


def crops(names: tuple[str, ...], side: int, count: int, seed: int) -> Iterator[Tensor]:
    """(1, side, side, 3) u8."""
    rng = np.random.default_rng(seed)
    for _, name in zip(range(count), cycle(names), strict=False):
        try:
            picture = getattr(skimage.data, name)()[..., :3]
        except Exception:  # not in this installation
            picture = skimage.data.astronaut()[::-1]
        scale = side / min(picture.shape[:2]) * rng.uniform(1, 1.6)
        scaled = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = (int(rng.integers(0, n - side + 1)) for n in scaled.shape[:2])
        yield torch.from_numpy(np.ascontiguousarray(scaled[top : top + side, left : left + side])[None])


class SafeCore(ov.Core):
    """OpenVINO 2026.4 crashes when it fuses our normalisations in single precision, in which NNCF calibrates."""

    def compile_model(self, model, device_name=None, config=None):
        return super().compile_model(model, device_name, {**(config or {}), "SNIPPETS_MODE": "DISABLE"})


class Compiled:
    """The three networks in OpenVINO; `models` by name."""

    def __init__(self, models: dict[str, ov.Model], precision: ov.Type) -> None:
        settings = {hint.inference_precision(): precision, hint.performance_mode(): hint.PerformanceMode.LATENCY}
        self.requests = {
            n: ov.Core().compile_model(m, "CPU", settings).create_infer_request() for n, m in models.items()
        }

    def __call__(self, name: str, *inputs: Tensor) -> Tensor:
        result = self.requests[name].infer([x.contiguous().numpy() for x in inputs])
        return torch.from_numpy(next(iter(result.values())).copy())


def run(networks, frame: Tensor, style: int, seed: int, steps: int = 1, seen: dict | None = None) -> Tensor:
    """One frame through the pipeline at strength .8 and freedom .1; what each network was given is added to `seen`."""
    generator = torch.Generator().manual_seed(seed)

    def call(name: str, *inputs: Tensor) -> Tensor:
        if seen is not None:
            seen[name].append([x.contiguous().numpy().copy() for x in inputs])
        return networks(name, *inputs)

    photo = call("encoder", frame)
    noise, hiding = (torch.randn(photo.shape, generator=generator) for _ in range(2))
    level = torch.tensor([0.1**1.5])
    hidden = degrade(photo, hiding, level)
    row = F.one_hot(torch.tensor([style]), STYLE_DIM).float()
    x = torch.lerp(photo, noise, 0.8)
    times = torch.linspace(0.8, 0, steps + 1)
    for now, following in pairwise(times):
        x = x + (following - now) * call("velocity", x, hidden, now.view(1), level, row)
    return call("decoder", x)


def quantised(models: dict[str, ov.Model], seen: dict[str, list], transformer: bool) -> dict[str, ov.Model]:
    result = {}
    ov.Core = SafeCore
    for name, model in models.items():
        kind = nncf.ModelType.TRANSFORMER if transformer else None
        result[name] = nncf.quantize(model, nncf.Dataset(seen[name]), preset=nncf.QuantizationPreset.MIXED,
                                     model_type=kind, subset_size=len(seen[name]))  # fmt: skip
    return result


def psnr(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a.float() - b.float()).square().mean().clamp_min(1e-6)))


def milliseconds(networks: Compiled, inputs: dict[str, list]) -> dict[str, float]:
    """Fastest of many calls of each network: the machine may be shared."""
    times = {}
    for name, given in inputs.items():
        tensors = [torch.from_numpy(x) for x in given[0]]
        taken = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            networks(name, *tensors)
            taken.append(time.perf_counter() - started)
        times[name] = round(min(taken) * 1e3, 2)
    return times


def converted(spec: NetworkSpec, size: int) -> ov.Model:
    shapes = spec.shapes(batch=1, height=size // 64, width=size // 64)
    inputs = examples(spec, shapes)
    model = ov.convert_model(with_frames(spec).eval(), example_input=tuple(inputs))
    model.reshape({index: list(x.shape) for index, x in enumerate(inputs)})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", type=int, default=384, help="multiple of 64")
    parser.add_argument("--count", type=int, default=24, help="frames to calibrate on")
    parser.add_argument("--keep-sensitive", action="store_true", help="NNCF's transformer mode: less is quantised")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = {spec.name: converted(spec, options.size) for spec in embedded_specs()}
    bf16 = Compiled(models, ov.Type.bf16)
    seen: dict[str, list] = {name: [] for name in models}
    for k, frame in enumerate(crops(CALIBRATE, options.size, options.count, 1)):
        run(bf16, frame, k % STYLES, k, steps=1 + k % 4, seen=seen)
    int8 = Compiled(quantised(models, seen, options.keep_sensitive), ov.Type.bf16)
    frames = list(crops(JUDGE, options.size, STYLES, 2))
    values = [psnr(run(int8, f, k, k), run(bf16, f, k, k)) for k, f in enumerate(frames)]
    times = {name: milliseconds(networks, seen) for name, networks in (("bf16", bf16), ("int8", int8))}
    totals = {name: sum(parts.values()) for name, parts in times.items()}
    result = {
        "size": options.size,
        "milliseconds": times,
        "speed_up": round(totals["bf16"] / totals["int8"], 2),
        "psnr_to_bf16_db": {"median": round(float(np.median(values)), 1), "least": round(min(values), 1)},
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print("| network | bf16 ms | int8 ms |\n|---|---|---|")
    for name in models:
        print(f"| {name} | {times['bf16'][name]} | {times['int8'][name]} |")
    print(f"\nint8 is {result['speed_up']}× as fast; PSNR to bf16 {result['psnr_to_bf16_db']}")


if __name__ == "__main__":
    main()
