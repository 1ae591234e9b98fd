"""`driftcam engine`: build, list, verify and prune TensorRT engines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.folders import engines_folder
from driftcam.engines.backends.tensorrt.build import TARGETS
from driftcam.engines.backends.tensorrt.cache import EngineCache
from driftcam.engines.prebuild import commands

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 where `verify` finds something wrong, 2 for what cannot be done."""
    options = _parser().parse_args(arguments)
    cache = EngineCache(options.folder or engines_folder())
    try:
        if options.command == "build":
            ranges = commands.parse_ranges(options.sizes, options.batch)
            commands.build_engines(
                options.model, options.target.split(","), options.precision, ranges, cache, options.refit
            )
        elif options.command == "list":
            commands.list_engines(cache)
        elif options.command == "verify":
            return 0 if commands.verify_engines(cache) else 1
        else:
            commands.prune_engines(cache, options.days)
    except ParameterError as error:
        print(f"driftcam: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="driftcam engine", description="TensorRT engines; building needs no GPU.")
    parser.add_argument(
        "--folder", type=Path, metavar="PATH", help=f"of the engines ({engines_folder()})".replace("%", "%%")
    )
    orders = parser.add_subparsers(dest="command", required=True)
    build = orders.add_parser("build", help="build the engines of a model ahead of time")
    build.add_argument("--model", default="embedded", metavar="embedded|FOLDER", help="a diffusers folder")
    build.add_argument("--target", required=True, metavar="T[,T…]", help=f"{', '.join(TARGETS)} (this machine's card)")
    build.add_argument("--precision", default="fp16", metavar="P", help="fp16, bf16, fp32 or fp8 (from sm89)")
    build.add_argument("--sizes", default="256-1024", metavar="LEAST-MOST", help="pixels, multiples of 64")
    build.add_argument("--batch", default="1-16", metavar="LEAST-MOST", help="rows of a batch")
    build.add_argument("--refit", action="store_true", help="weights can be replaced later; needs the card itself")
    orders.add_parser("list", help="show every engine")
    orders.add_parser("verify", help="check every engine")
    prune = orders.add_parser("prune", help="remove damaged engines and those of other TensorRT versions")
    prune.add_argument("--days", type=float, metavar="N", help="and those built more than N days ago")
    return parser


if __name__ == "__main__":
    sys.exit(main())
