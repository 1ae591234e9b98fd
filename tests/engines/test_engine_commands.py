"""`driftcam engine`: what a person types, with the real TensorRT for RTX compiler behind it."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxscript")
if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
    pytest.skip("needs: pip install 'driftcam[rtx]'", allow_module_level=True)

from driftcam.daemon.cli import main as driftcam
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.backends.identity import graph_hash, weights_hash
from driftcam.engines.backends.network import NetworkSpec, Ranges, image_shape
from driftcam.engines.backends.tensorrt.cache import EngineCache
from driftcam.engines.backends.tensorrt.prepare import key_of, prepare
from driftcam.engines.models.embedded.model import embedded_specs
from driftcam.engines.prebuild import commands
from driftcam.engines.prebuild.__main__ import main
from driftcam.engines.prebuild.commands import Bar, parse_ranges


class Filter(torch.nn.Module):
    """The least network: quick to build."""

    def __init__(self, radius: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 3, 2 * radius + 1, padding=radius)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layer(pixels)


def spec(radius: int = 1) -> NetworkSpec:
    return NetworkSpec("filter", Filter(radius).eval(), {"pixels": image_shape(3)}, "y")


def test_build_list_verify_prune(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small networks under the names of the real ones, which test_tensorrt builds."""
    assert [s.name for s in commands.specs_of("embedded")] == ["encoder", "velocity", "decoder"]
    small = [dataclasses.replace(spec(), name=s.name) for s in commands.specs_of("embedded")]
    monkeypatch.setattr(commands, "specs_of", lambda model: small)
    folder = ["--folder", str(tmp_path)]
    assert main([*folder, "build", "--target", "sm89", "--sizes", "256-512", "--batch", "1-2"]) == 0
    built = capsys.readouterr().out
    assert [line.split(" for sm89")[0] for line in built.splitlines()] == ["encoder", "velocity", "decoder"]
    assert main([*folder, "verify"]) == 0
    next(tmp_path.glob("decoder*.engine")).write_bytes(b"damaged")
    assert main([*folder, "verify"]) == 1
    assert "checksum" in capsys.readouterr().out
    main([*folder, "list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and sum("good" in line for line in lines) == 2
    main([*folder, "prune"])
    assert "decoder" in capsys.readouterr().out and len(list(tmp_path.glob("*.engine"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "sm61"], "choose from: sm75"),
        (["--target", "sm89", "--precision", "fp7"], "choose from: fp32"),
        (["--target", "sm89", "--sizes", "250-512"], "multiples of 64"),
        (["--target", "sm89", "--sizes", "1024-256"], "LEAST-MOST"),
        (["--target", "sm89", "--sizes", "64-512"], "a running engine asks for 256 to 1024 pixels"),
        (["--target", "sm89", "--sizes", "512-2048"], "a running engine asks for 256 to 1024 pixels"),
        (["--target", "sm89", "--batch", "many"], "LEAST-MOST"),
        (["--target", "sm89", "--model", "no-such-folder"], "model_index.json"),
        (["--target", "sm89", "--model", "stabilityai/sd-turbo"], "nothing is fetched"),
        (["--target", "sm89", "--model", __file__], "it is a file, and no safetensors"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(arguments: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert main(["--folder", str(tmp_path), "build", *arguments]) == 2
    problem = capsys.readouterr().err
    assert message in problem.splitlines()[-1] and "Traceback" not in problem  # transformers has words of its own


def test_driftcam_passes_on_to_the_engine_room(tmp_path: Path) -> None:
    """Through the command itself, whose room must not import the engine's."""
    assert driftcam(["engine", "--folder", str(tmp_path), "verify"]) == 0
    code = (
        "import sys; from driftcam.daemon.cli import main; main(['engine', 'list']); "
        "sys.exit('driftcam.engines.backends.tensorrt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_key_follows_weights_code_and_settings_and_costs_no_export(tmp_path: Path) -> None:
    cache, ranges, phases = EngineCache(tmp_path), Ranges((1, 1, 2), (4, 4, 8), (4, 4, 8)), []
    key = key_of(spec(), "sm89", "fp16", ranges=ranges)
    first = prepare(spec(), key, cache, progress=lambda *p: phases.append(p))
    assert phases
    phases.clear()
    again = prepare(spec(), key_of(spec(), "sm89", "fp16", ranges=ranges), cache, progress=lambda *p: phases.append(p))
    assert again == first and not phases, "it came from the cache"
    changed = spec()
    with torch.no_grad():
        changed.module.layer.bias[0] += 1e-3  # as a merged LoRA does
    assert weights_hash(changed.module) != weights_hash(spec().module)
    assert graph_hash(changed) == graph_hash(spec()) != graph_hash(spec(radius=2))
    assert graph_hash(embedded_specs()[0]) != graph_hash(embedded_specs()[2])


def test_ranges_from_words() -> None:
    assert parse_ranges("256-1024", "1-16") == Ranges()
    assert parse_ranges("512", "2") == Ranges((2, 2, 2), (8, 8, 8), (8, 8, 8))
    with pytest.raises(ParameterError, match="sizes"):
        parse_ranges("0-512", "1")


def test_the_bar_shows_phase_and_share_and_leaves_a_clean_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = Bar("unet for sm89")
    bar("Building", 0.5)
    assert terminal.getvalue().rstrip() == "\runet for sm89 " + "█" * 12 + " " * 12 + " Building"
    bar.clear()
    assert terminal.getvalue().endswith(" \r")
