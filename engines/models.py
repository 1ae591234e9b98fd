"""Compiled networks, shared between the streams of a process."""

from __future__ import annotations

import threading
import weakref

from engines.backends import Backend
from engines.backends.base import Progress
from engines.model import Model, ModelSource


class Models:
    """Hands out one model for each size; a model goes when its last stream has gone. From any thread."""

    def __init__(self) -> None:
        self._models: weakref.WeakValueDictionary[tuple, Model] = weakref.WeakValueDictionary()
        self._making = threading.Lock()

    def get(
        self, source: ModelSource, size: tuple[int, int], backend: Backend, progress: Progress | None = None
    ) -> Model:
        """For pictures of `size` (height, width); `progress` is told of a build, this one's and later ones'."""
        with self._making:
            key = source, size, backend.name
            model = self._models.get(key)
            if model is None:
                model = self._models[key] = source.model(*size, backend, progress)
            return model
