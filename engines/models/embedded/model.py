"""The embedded model as the engine uses it: verified weights, and what its network is told."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import EMBEDDED
from driftcam.engines.api.model_files import EMBEDDED_FILE, EMBEDDED_SOLVERS
from driftcam.engines.api.parameters import Parameters
from driftcam.engines.backends.network import NetworkSpec, image_shape
from driftcam.engines.conditions.freedom import Freedom
from driftcam.engines.conditions.style import Style
from driftcam.engines.diffusion.schedules import flow
from driftcam.engines.models.base import Parts, denoiser_inputs
from driftcam.engines.models.embedded.networks import (
    LATENT_CHANNELS,
    STRIDE,
    UNET_STRIDE,
    Decoder,
    Encoder,
    FlowUNet,
)

WEIGHTS = Path(__file__).parent / "weights"
_STYLE_PICTURE = 256  # side of the picture the style-vector predictor sees


def embedded_parts(weights: Path | None = None) -> Parts:
    """The networks of the embedded model and what they are told. Raises `ParameterError` for unusable weights."""
    encoder, decoder, velocity = load_networks(weights or WEIGHTS)
    latent = image_shape(LATENT_CHANNELS, STRIDE)
    conditions = (Freedom(latent), Style())
    return Parts(
        encoder=NetworkSpec("encoder", encoder, {"pixels": image_shape(3)}, "latent", "in", kept=True),
        denoiser=NetworkSpec("velocity", velocity, denoiser_inputs(latent, conditions), "v", kept=True),
        decoder=NetworkSpec("decoder", decoder, {"latent": latent}, "pixels", "out", kept=True),
        conditions=conditions,
        schedule=flow,
    )


def embedded_specs(weights: Path | None = None) -> list[NetworkSpec]:
    """The three networks of the embedded model. Raises as `embedded_parts`."""
    parts = embedded_parts(weights)
    return [parts.encoder, parts.denoiser, parts.decoder]


class EmbeddedSource:
    """The embedded model's weights, those shipped or others in `folder`.

    Raises:
        ParameterError: weights missing or not what their checksum says, or a solver of other models.
    """

    stride = STRIDE
    multiple = STRIDE * UNET_STRIDE

    def __init__(self, folder: Path | None = None, solver: str = "auto") -> None:
        if solver not in EMBEDDED_SOLVERS:
            advice = f"the embedded model is a rectified flow; choose from: {', '.join(EMBEDDED_SOLVERS)}"
            raise ParameterError("solver", solver, advice)
        self._folder = folder or WEIGHTS
        schedule = functools.partial(flow, solver="euler" if solver == "auto" else solver)
        self.parts = dataclasses.replace(embedded_parts(self._folder), schedule=schedule)

    def check(self, parameters: Parameters) -> None:
        """Raises `ParameterError` for a style that there is not, a prompt of which no word fits one, and the like."""
        parameters.check_model(EMBEDDED)

    def style_vector(self, picture: np.ndarray) -> tuple[float, ...]:
        """Style vector of an (H, W, 3) u8 RGB picture: 100 numbers."""
        small = cv2.resize(picture, (_STYLE_PICTURE, _STYLE_PICTURE), interpolation=cv2.INTER_AREA)
        return tuple(float(v) for v in _predictor(self._folder)(small[None].astype(np.float32) / 255).reshape(-1))


@functools.lru_cache(maxsize=1)
def load_networks(folder: Path) -> tuple[Encoder, Decoder, FlowUNet]:
    """The verified networks in evaluation mode."""
    path = folder / EMBEDDED_FILE
    _verify(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ParameterError("weights", str(path), f"not a safetensors file ({error}); {_remedy(path)}") from None
    encoder, decoder, unet = Encoder(), Decoder(), FlowUNet()
    for prefix, module in (("encoder.", encoder), ("decoder.", decoder), ("unet.", unet)):
        part = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(part)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise ParameterError("weights", str(path), f"{problem}; {_remedy(path)}") from None
        module.eval().requires_grad_(False)
    return encoder, decoder, unet


def _verify(path: Path) -> None:
    """Raises `ParameterError` for a weights file that is not the one of the folder's checksums.json."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = json.loads((path.parent / "checksums.json").read_text())[path.name]
    except (OSError, ValueError, KeyError) as error:
        raise ParameterError("weights", str(path), f"cannot be read ({error}); {_remedy(path)}") from None
    if digest != expected:
        raise ParameterError("weights", str(path), f"the file is corrupt (checksum does not match); {_remedy(path)}")


def _remedy(path: Path) -> str:
    shipped = path.parent == WEIGHTS
    return "reinstall driftcam" if shipped else "give another folder, or none for the model as shipped"


@functools.lru_cache(maxsize=1)
def _predictor(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The style-vector network (Ghiasi et al., arXiv 1705.06830), run rarely and therefore in OpenVINO alone."""
    import openvino as ov

    path = folder / "style_vector.onnx"
    _verify(path)
    compiled = ov.Core().compile_model(path, "CPU")
    return lambda picture: compiled([picture])[0]
