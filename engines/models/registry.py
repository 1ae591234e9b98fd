"""Models that are loaded and networks that are compiled, each once for all streams of a process."""

from __future__ import annotations

import functools
import threading
import weakref

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import CHECKPOINT
from driftcam.engines.api.model_files import ModelFiles, check_vae, check_weights
from driftcam.engines.backends import Backend
from driftcam.engines.backends.progress import Progress
from driftcam.engines.models.base import Model, ModelSource
from driftcam.engines.models.embedded.model import EmbeddedSource


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
            key = source, size, backend
            model = self._models.get(key)
            if model is None:
                model = self._models[key] = Model(source.parts, *size, backend, progress)
            return model


@functools.lru_cache(maxsize=2)
def open_source(files: ModelFiles) -> ModelSource:
    """The model, read once for all streams of a process. Raises `ParameterError`."""
    weights = files.weights
    if weights is not None:
        check_weights(weights)
    if weights is not None and files.kind == CHECKPOINT:
        try:
            from driftcam.engines.models.stable_diffusion.model import CheckpointSource
        except ImportError as error:
            advice = f"checkpoints need {error.name}: pip install 'driftcam[checkpoints]'"
            raise ParameterError("weights", str(weights), advice) from None
        if files.vae is not None:
            check_vae(files.vae)
        return CheckpointSource(weights, vae=files.vae, loras=files.loras, solver=files.solver)
    if files.vae is not None or files.loras:
        name, value = ("vae", files.vae) if files.vae else ("lora", files.loras[0][0])
        raise ParameterError(name, str(value), "it goes with a checkpoint, whose folder is given as weights")
    return EmbeddedSource(weights, files.solver)
