"""The C header and the Python module say the same: the header is compiled and asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from driftcam.engines.api import bus

ROOT = Path(__file__).parents[2]
FIELDS = (
    *("magic", "major", "minor", "type", "slot", "width", "height", "stride", "pixel_format", "stream"),
    *("sequence", "pts", "payload_size", "json_length", "reserved"),
)
CONSTANTS = {
    "DRIFTCAM_MAJOR": bus.MAJOR,
    "DRIFTCAM_MINOR": bus.MINOR,
    "DRIFTCAM_SLOTS": bus.SLOTS,
    "DRIFTCAM_MAX_JSON": bus.MAX_JSON,
    "DRIFTCAM_MAX_SIDE": bus.MAX_SIDE,
    "DRIFTCAM_MAX_NAME": bus.MAX_NAME,
    "DRIFTCAM_MAX_PLANES": bus.MAX_PLANES,
    "DRIFTCAM_PLANE_ALIGN": bus.PLANE_ALIGN,
    "DRIFTCAM_SEALS": bus.SEALS,
    **{f"DRIFTCAM_{kind.name}": kind for kind in bus.MessageType},
    **{f"DRIFTCAM_{kind.name}": kind for kind in bus.PixelFormat},
}


def said_by_c(folder: Path, body: str, compiler: str = "cc", *flags: str) -> str:
    """What a program with `body` as its main prints."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler here ({compiler})")
    source = folder / f"program.{'cpp' if compiler == 'c++' else 'c'}"
    source.write_text(f'#include <stdio.h>\n#include "driftcam_bus.h"\nint main(void) {{\n{body}\nreturn 0; }}\n')
    program = folder / "program"
    warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", *flags]
    subprocess.run([compiler, *warnings, f"-I{ROOT / 'obs_plugin'}", source, "-o", program], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("compiler", "standard"), [("cc", "-std=c11"), ("c++", "-std=c++17")])
def test_sizes_offsets_and_constants_are_those_of_the_python_module(
    tmp_path: Path, compiler: str, standard: str
) -> None:
    message = "struct driftcam_message"
    lines = [f'printf("%zu %zu\\n", offsetof({message}, {name}), sizeof((({message} *)0)->{name}));' for name in FIELDS]
    lines += [f'printf("%lld\\n", (long long){name});' for name in CONSTANTS]
    lines.append(f'printf("%zu %s\\n", sizeof({message}), DRIFTCAM_MAGIC);')
    said = said_by_c(tmp_path, "\n".join(lines), compiler, standard).splitlines()

    codes = bus.HEADER.format.removeprefix("<")
    sizes = [4, *(int({"H": 2, "I": 4, "Q": 8, "q": 8}[code]) for code in codes.removeprefix("4s"))]
    offsets = [sum(sizes[:number]) for number in range(len(sizes))]
    assert said[: len(FIELDS)] == [f"{offset} {size}" for offset, size in zip(offsets, sizes, strict=True)]
    assert dict(zip(CONSTANTS, map(int, said[len(FIELDS) : -1]), strict=True)) == CONSTANTS
    assert said[-1] == f"{bus.HEADER.size} {bus.MAGIC.decode()}"


def test_a_message_of_c_is_read_by_python(tmp_path: Path) -> None:
    body = """
    struct driftcam_message m = {.magic = {'D', 'R', 'F', 'C'}, .major = DRIFTCAM_MAJOR, .minor = DRIFTCAM_MINOR,
        .type = DRIFTCAM_FRAME, .slot = 2, .width = 640, .height = 480, .stride = 2560, .pixel_format = DRIFTCAM_BGRA8,
        .stream = 7, .sequence = 1ull << 40, .pts = -5, .payload_size = 2560 * 480, .json_length = 0, .reserved = 0};
    for (size_t i = 0; i < sizeof m; i++) printf("%02x", ((unsigned char *)&m)[i]);"""
    (message,) = bus.Decoder().feed(bytes.fromhex(said_by_c(tmp_path, body, "cc", "-std=c11")))
    shape = {"width": 640, "height": 480, "stride": 2560, "pixel_format": bus.PixelFormat.BGRA8}
    numbers = {"sequence": 1 << 40, "pts": -5, "payload_size": 2560 * 480, "stream": 7}
    assert message == bus.Message(bus.MessageType.FRAME, 2, **shape, **numbers)
