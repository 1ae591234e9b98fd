"""The kernels of `frames.cu`, compiled by NVRTC for one GPU generation and kept on disk. Needs no GPU."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

SOURCE = Path(__file__).with_name("frames.cu")
KERNELS = (
    "rgb_to_tensor",
    "bgra_to_tensor",
    "tensor_to_rgb",
    "tensor_to_bgra",
)
_CHECKSUM = 32  # bytes before the code in a kept file


def compile_kernels(target: str) -> bytes:
    """Machine code of all kernels for a target such as `sm89`.

    Raises:
        RuntimeError: NVRTC's own words, for a target that it does not know.
    """
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(arch=target.replace("sm", "sm_"), std="c++17")
    return bytes(Program(SOURCE.read_text(), "c++", options).compile("cubin").code)


def kept_kernels(target: str, folder: Path) -> bytes:
    """As `compile_kernels`, from `folder` where it has them whole. A folder that cannot be written is no error."""
    from cuda.core import __version__

    name = hashlib.sha256(f"{__version__} {target}\n{SOURCE.read_text()}".encode()).hexdigest()[:16]
    path = folder / f"frames-{target}-{name}.cubin"
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[_CHECKSUM:]).digest() == data[:_CHECKSUM]:
            return data[_CHECKSUM:]
    except OSError:
        pass
    code = compile_kernels(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        temporary.replace(path)
    except OSError:
        pass
    return code
