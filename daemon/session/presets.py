"""Named looks on disk: every live parameter but the size of the picture and how many there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from driftcam.daemon.errors import RunError
from driftcam.daemon.files import write_whole
from driftcam.engines.api import ParameterError, Parameters

MAX_BYTES = 64 * 1024
MOST = 500
STREAM_FIELDS = ("width", "height", "smooth")  # of the stream, not of a look
_NAME = re.compile(r"[^\W_](?:[\w .-]{0,62}[\w-])?")


class Presets:
    """One JSON file a preset. Every method blocks on the disk: call it in a thread.

    Names are letters, digits, spaces and `_ . -`; nothing in them can lead out of the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Sorted; damaged files are in `damaged`."""
        return sorted(name for name in self._files() if self._usable(name))

    def damaged(self) -> list[str]:
        """One line for every file that is no preset; such a file is left as it is."""
        problems = []
        for name in sorted(self._files()):
            try:
                self.load(name)
            except ParameterError as error:
                problems.append(str(error))
        return problems

    def exists(self, name: str) -> bool:
        """Damaged or not. Raises `ParameterError` for what is no name."""
        return self._path(name).exists()

    def load(self, name: str) -> dict[str, Any]:
        """The parameters of a preset, to be given to `Control.change`. Raises `ParameterError`."""
        path = self._path(name)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError("it is too large")
            values = json.loads(path.read_text())
            checked = Parameters.from_dict(values)
        except FileNotFoundError:
            raise ParameterError("preset", name, self._choice()) from None
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            advice = f"the file {path} is damaged ({error}); save it anew or delete it"
            raise ParameterError("preset", name, advice) from None
        return {field: value for field, value in checked.to_dict().items() if field not in STREAM_FIELDS}

    def save(self, name: str, parameters: Parameters) -> None:
        """Written whole or not at all, also when the power fails. Raises `ParameterError` or `RunError`."""
        path = self._path(name)
        values = {field: value for field, value in parameters.to_dict().items() if field not in STREAM_FIELDS}
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists() and len(self._files()) >= MOST:
                raise ParameterError("preset", name, f"there are {MOST} already; delete one")
            write_whole(path, json.dumps(values, indent=2).encode() + b"\n")
        except OSError as error:
            raise RunError(f"{path}: the preset could not be written ({error.strerror})") from None

    def delete(self, name: str) -> None:
        """Raises `ParameterError` or `RunError`."""
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            raise ParameterError("preset", name, self._choice()) from None
        except OSError as error:
            raise RunError(f"{path}: the preset could not be deleted ({error.strerror})") from None

    def _files(self) -> list[str]:
        try:
            return [path.stem for path in self._folder.glob("*.json") if _NAME.fullmatch(path.stem)]
        except OSError:
            return []

    def _usable(self, name: str) -> bool:
        try:
            self.load(name)
        except ParameterError:
            return False
        return True

    def _path(self, name: str) -> Path:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            advice = "give up to 64 letters, digits, spaces, '_', '.' or '-', beginning with a letter or digit"
            raise ParameterError("preset", name, advice)
        path = self._folder / f"{name}.json"
        if path.is_symlink():
            raise ParameterError("preset", name, f"{path} is a link; replace it by a file")
        return path

    def _choice(self) -> str:
        names = self.names()
        return f"choose from: {', '.join(names[:20])}" if names else "there is no preset yet; save one first"
