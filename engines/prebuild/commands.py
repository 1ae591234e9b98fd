"""`driftcam engine build|list|verify|prune`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.model_files import check_weights
from driftcam.engines.backends.export import PRECISIONS
from driftcam.engines.backends.network import UNIT, NetworkSpec, Ranges
from driftcam.engines.backends.tensorrt.build import parse_target
from driftcam.engines.backends.tensorrt.cache import EngineCache
from driftcam.engines.backends.tensorrt.prepare import key_of, library_name, prepare
from driftcam.engines.models.embedded.model import embedded_specs

_BAR = 24


def parse_ranges(sizes: str, batch: str) -> Ranges:
    """`256-1024` pixels and `1-16` rows. Raises `ParameterError`."""
    least, most = _span("sizes", sizes)
    if least % UNIT or most % UNIT:
        raise ParameterError("sizes", sizes, f"give multiples of {UNIT}")
    low, high = least // UNIT, most // UNIT
    if low < Ranges().height[0] or high > Ranges().height[-1]:
        usable = f"{Ranges().height[0] * UNIT} to {Ranges().height[-1] * UNIT}"
        raise ParameterError("sizes", sizes, f"a running engine asks for {usable} pixels, never for others")
    typical = min(max(512 // UNIT, low), high)
    return Ranges(batch=(_span("batch", batch)[0], _span("batch", batch)[0], _span("batch", batch)[1]),
                  height=(low, typical, high), width=(low, typical, high))  # fmt: skip


def _span(field: str, text: str) -> tuple[int, int]:
    parts = text.split("-")
    try:
        least, most = int(parts[0]), int(parts[-1])
    except ValueError:
        raise ParameterError(field, text, "give LEAST-MOST or one number") from None
    if len(parts) > 2 or not 1 <= least <= most:
        raise ParameterError(field, text, "give LEAST-MOST or one number")
    return least, most


def specs_of(model: str) -> list[NetworkSpec]:
    """The networks of `embedded` or of a checkpoint's folder. Raises `ParameterError`."""
    if model == "embedded":
        return embedded_specs()
    check_weights(Path(model))
    try:
        from driftcam.engines.models.stable_diffusion.checkpoint import Checkpoint
        from driftcam.engines.models.stable_diffusion.specs import checkpoint_specs
    except ImportError:
        raise ParameterError("model", model, "checkpoints need: pip install 'driftcam[checkpoints]'") from None
    checkpoint = Checkpoint.load(Path(model))
    return checkpoint_specs(checkpoint.unet, checkpoint.vae)


def build_engines(
    model: str, targets: Sequence[str], precision: str, ranges: Ranges, cache: EngineCache, refit: bool = False
) -> None:
    """Build every network of a model for every target, with a progress bar on the terminal."""
    if precision not in PRECISIONS:
        raise ParameterError("precision", precision, f"choose from: {', '.join(PRECISIONS)}")
    names = [parse_target(text) for text in targets]
    for spec in specs_of(model):
        for target in names:
            started = time.monotonic()
            bar = Bar(f"{spec.name} for {target}")
            key = key_of(spec, target, precision, ranges=ranges, refit=refit)
            engine = prepare(spec, key, cache, progress=bar, notify=lambda line: print(line))
            bar.clear()
            taken = time.monotonic() - started
            print(f"{spec.name} for {target} in {precision}: {len(engine) / 1e6:.1f} MB, {taken:.1f} s")


class Bar:
    """A line that shows the phase of a build; nothing where there is no terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shows = sys.stderr.isatty()

    def __call__(self, phase: str, share: float) -> None:
        if self._shows:
            filled = "█" * round(_BAR * share)
            print(f"\r{self._what} {filled:<{_BAR}} {phase[:40]:<40}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shows:
            print(f"\r{'':<{len(self._what) + _BAR + 44}}\r", end="", file=sys.stderr)


def list_engines(cache: EngineCache) -> None:
    entries = list(cache.entries())
    for entry in entries:
        built = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.built))
        library = entry.key.library if entry.key else "?"
        print(f"{entry.path.name}  {entry.size / 1e6:.1f} MB  {built}  {library}  {entry.problem or 'good'}")
    if not entries:
        print(f"no engines in {cache.folder}")


def verify_engines(cache: EngineCache) -> bool:
    """Say what is wrong with which engine; True where nothing is."""
    bad = [entry for entry in cache.entries() if entry.problem]
    for entry in bad:
        print(f"{entry.path.name}: {entry.problem}; it is built again when it is needed")
    return not bad


def prune_engines(cache: EngineCache, days: float | None) -> None:
    older = None if days is None else time.time() - 86400 * days
    for path in cache.prune(library_name(), older):
        print(f"removed {path.name}")
