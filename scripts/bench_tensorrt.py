"""Build an engine of SD-Turbo's UNet at full size, with random weights: time, memory, size. Needs no GPU.

python -m scripts.bench_tensorrt [--json] [--target sm89] [--sizes 256-1024] [--batch 1-4]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from driftcam.engines.backends.export import export_onnx
from driftcam.engines.backends.network import NetworkSpec
from driftcam.engines.backends.tensorrt.build import BuildJob, build, parse_target, profile_of
from driftcam.engines.models.stable_diffusion.specs import checkpoint_specs
from driftcam.engines.prebuild.commands import parse_ranges


def sd_turbo_unet() -> NetworkSpec:
    """The architecture of Stable Diffusion 2.1, which SD-Turbo shares, in half precision."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )
    unet = unet.to(torch.float16).to_empty(device="cpu").eval().requires_grad_(False)
    torch.manual_seed(0)
    for weight in unet.parameters():
        weight.normal_(0, 0.02)
    autoencoder = AutoencoderKL(block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
                                up_block_types=("UpDecoderBlock2D",) * 4)  # fmt: skip
    return checkpoint_specs(unet, autoencoder)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--target", default="sm89")
    parser.add_argument("--sizes", default="256-1024")
    parser.add_argument("--batch", default="1-4")
    options = parser.parse_args()
    ranges, target = parse_ranges(options.sizes, options.batch), parse_target(options.target)
    spec = sd_turbo_unet()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        onnx = export_onnx(spec, Path(folder) / "unet.onnx", "fp16", ranges)
        exported = time.monotonic()
        export_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        engine = build(BuildJob("unet", onnx, target, "fp16", profile_of(spec, ranges)))
        built = time.monotonic()
    result = {
        "target": target,
        "parameters": sum(weight.numel() for weight in spec.module.parameters()),
        "sizes": options.sizes,
        "batch": options.batch,
        "export_s": round(exported - started, 1),
        "export_peak_memory_mb": export_memory // 1024,
        "build_s": round(built - exported, 1),
        "build_peak_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "engine_mb": round(len(engine) / 1e6, 1),
    }
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print(
            "\n".join(
                ["| | |", "|---|---|", *(f"| {name.replace('_', ' ')} | {value} |" for name, value in result.items())]
            )
        )


if __name__ == "__main__":
    main()
