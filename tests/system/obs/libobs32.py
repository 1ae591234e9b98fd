"""The plugin in libobs 32, without OBS around it: `python libobs32.py PLUGIN-FOLDER` (see `test_libobs32.py`).

Draws a red source with the filter until it comes out blue, and prints what happened.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path

import pylibobs

LIBRARIES = Path(pylibobs.__file__).parent / "_libs" / "linux" / "x86_64"
ctypes.CDLL(str(LIBRARIES / "libobs.so"), ctypes.RTLD_GLOBAL)  # as in OBS, which is linked to it

from pylibobs._ffi import ffi, get_lib  # noqa: E402
from pylibobs.context import NixPlatform, OBSContext, set_nix_platform  # noqa: E402
from pylibobs.filters import Filter  # noqa: E402
from pylibobs.graphics import render_source_to_bgra  # noqa: E402
from pylibobs.source import Source  # noqa: E402

SIZE = (640, 360)
PATIENCE = 30.0


def load(library: Path, data: Path) -> None:
    """A plugin as OBS loads it."""
    lib = get_lib()
    module = ffi.new("obs_module_t **")
    code = lib.obs_open_module(module, str(library).encode(), str(data).encode())
    assert code == 0, f"obs_open_module says {code}"
    assert lib.obs_init_module(module[0])


def colour(source: Source) -> tuple[int, int, int]:
    """In the middle, RGB."""
    drawn = render_source_to_bgra(source, *SIZE)
    assert drawn is not None
    data, stride = drawn
    at = SIZE[1] // 2 * stride + SIZE[0] // 2 * 4
    return data[at + 2], data[at + 1], data[at]


def main(plugin: Path) -> None:
    """Raises when anything is not as it should be."""
    set_nix_platform(NixPlatform.X11_EGL)
    context = OBSContext(module_config_path="/tmp")
    context.startup()
    context.set_video(*SIZE)
    context.set_audio()
    # Only what is needed: others of the wheel's plugins ask their maker's server for updates.
    load(LIBRARIES / "obs-plugins" / "image-source.so", LIBRARIES / "data" / "obs-plugins" / "image-source")
    load(plugin / "bin" / "64bit" / "driftcam.so", plugin / "data")
    source = Source.create("color_source", "red", {"color": 0xFF0000FF, "width": SIZE[0], "height": SIZE[1]})
    driftcam = Filter.create("driftcam_filter", "Driftcam", {"style": "swap"})
    source.add_filter(driftcam)
    seen = [colour(source)]
    deadline = time.monotonic() + PATIENCE
    while seen[-1] != (0, 0, 255) and time.monotonic() < deadline:
        time.sleep(0.02)
        seen.append(colour(source))
    print(f"libobs {context.version}, {seen[0]} became {seen[-1]}", flush=True)
    source.remove_filter(driftcam)
    print(f"without the filter {colour(source)}", flush=True)
    driftcam.release()
    source.release()
    context.shutdown()
    print(f"leaks {get_lib().bnum_allocs()}" if hasattr(get_lib(), "bnum_allocs") else "ended", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
