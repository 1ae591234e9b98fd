"""The embedded model as the engine uses it: verified weights, compiled networks, style conditions."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.fields import EMBEDDED
from driftcam.engines.api.parameters import STYLE_VECTOR_LENGTH, Parameters
from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.engines.backends import Backend, base
from driftcam.engines.backends.base import Progress, Shapes
from driftcam.engines.backends.network import BATCH, NetworkSpec, picture
from driftcam.engines.diffusion.frame import Condition
from driftcam.engines.diffusion.schedules import Schedule, flow
from driftcam.engines.models.base import Conditioning, RowsNetwork
from driftcam.engines.models.embedded import networks
from driftcam.engines.models.embedded.networks import (
    LATENT_CHANNELS,
    STRIDE,
    STYLE_DIM,
    UNET_STRIDE,
    Decoder,
    Encoder,
    FlowUNet,
    degrade,
    hiding_level,
    hiding_noise,
)

WEIGHTS = Path(__file__).parent / "weights"
_STYLE_PICTURE = 256  # side of the picture the style-vector predictor sees


def embedded_specs(weights: Path | None = None) -> list[NetworkSpec]:
    """The three networks of the embedded model. Raises `ParameterError` for weights that cannot be used."""
    key, encoder, decoder, velocity = load_networks(weights or WEIGHTS)
    latent = picture(LATENT_CHANNELS, STRIDE)
    inputs = {"x": latent, "photo": latent, "t": (BATCH,), "level": (BATCH,), "style": (BATCH, STYLE_DIM)}
    return [
        NetworkSpec("encoder", encoder, {"pixels": picture(3)}, "latent", "in", key),
        NetworkSpec("velocity", velocity, inputs, "v", "", key),
        NetworkSpec("decoder", decoder, {"latent": latent}, "pixels", "out", key),
    ]


class EmbeddedSource:
    """The embedded model's weights, those shipped or others in `folder`.

    Raises:
        ParameterError: weights missing or not what their checksum says.
    """

    stride = STRIDE
    multiple = STRIDE * UNET_STRIDE

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or WEIGHTS
        self._specs = embedded_specs(self._folder)

    def check(self, parameters: Parameters) -> None:
        """Raises `ParameterError` for a style that there is not, a prompt of which no word fits one, and the like."""
        parameters.check_model(EMBEDDED)

    def model(self, height: int, width: int, backend: Backend, progress: Progress | None = None) -> EmbeddedModel:
        return EmbeddedModel(self._specs, height, width, backend, progress)

    def style_vector(self, picture: np.ndarray) -> tuple[float, ...]:
        """Style vector of an (H, W, 3) u8 RGB picture: 100 numbers."""
        small = cv2.resize(picture, (_STYLE_PICTURE, _STYLE_PICTURE), interpolation=cv2.INTER_AREA)
        return tuple(float(v) for v in _predictor(self._folder)(small[None].astype(np.float32) / 255).reshape(-1))


class EmbeddedModel:
    """See `engines.models.base.Model`."""

    channels = LATENT_CHANNELS

    def __init__(
        self,
        specs: Sequence[NetworkSpec],
        height: int,
        width: int,
        backend: Backend,
        progress: Progress | None = None,
    ) -> None:
        encoder, velocity, decoder = specs
        self.size = (height, width)
        self.latent_size = (height // STRIDE, width // STRIDE)
        latent = (LATENT_CHANNELS, *self.latent_size)
        self._encode = backend.compile(encoder, {"pixels": (1, 3, height, width)}, progress=progress)
        self._decode = backend.compile(decoder, {"latent": (1, *latent)}, progress=progress)

        def shapes(rows: int) -> Shapes:
            picture = (rows, *latent)
            return {"x": picture, "photo": picture, "t": (rows,), "level": (rows,), "style": (rows, STYLE_DIM)}

        self._velocity = RowsNetwork(velocity, shapes, backend, progress)

    def prepare(self, parameters: Parameters, rows: int) -> None:
        self._velocity.prepare(rows)

    def ready(self, parameters: Parameters, rows: int) -> bool:
        return self._velocity.ready(rows)

    def conditioning(self, parameters: Parameters) -> Conditioning:
        """The photograph's latent, hidden as far as the freedom says, and the style."""
        style = style_condition(parameters)[0]
        hidden = float(hiding_level(parameters.freedom))
        level = torch.tensor(hidden)

        def condition(photo: Tensor, noises: Tensor) -> Condition:
            return {"photo": degrade(photo, hiding_noise(noises[:1]), hidden)[0], "level": level, "style": style}

        return condition

    def schedule(self, steps: int, strength: float) -> Schedule:
        return flow(steps, strength)

    def encode(self, frame: Tensor) -> Tensor:
        return self._encode(frame)

    def decode(self, latent: Tensor) -> Tensor:
        return self._decode(latent)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Velocity ε − x at time t; `condition` holds rows of photo, level and style."""
        return self._velocity(x, condition["photo"], t, condition["level"], condition["style"])

    @staticmethod
    def unconditional(condition: Condition) -> Condition:
        """The same condition without a style."""
        return {**condition, "style": torch.zeros_like(condition["style"])}


def style_condition(parameters: Parameters) -> Tensor:
    """The UNet's style input (1, STYLE_DIM): weights of the named styles, then the style vector."""
    share = parameters.style_image_weight if parameters.style_vector is not None else 0.0
    style = torch.zeros(1, STYLE_DIM)
    for name, weight in parameters.styles:
        style[0, STYLE_NAMES.index(name)] = weight * (1 - share)
    if parameters.style_vector is not None:
        style[0, -STYLE_VECTOR_LENGTH:] = torch.tensor(parameters.style_vector) * share
    return style


@functools.lru_cache(maxsize=1)
def load_networks(folder: Path) -> tuple[str, Encoder, Decoder, FlowUNet]:
    """The key of the graphs, and the verified networks in evaluation mode."""
    path = folder / "embedded.safetensors"
    digest = _verified(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ParameterError("weights", str(path), f"not a safetensors file ({error}); reinstall driftcam") from None
    encoder, decoder, unet = Encoder(), Decoder(), FlowUNet()
    for prefix, module in (("encoder.", encoder), ("decoder.", decoder), ("unet.", unet)):
        part = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(part)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise ParameterError("weights", str(path), f"{problem}; reinstall driftcam") from None
        module.eval().requires_grad_(False)
    return _graph_key(digest), encoder, decoder, unet


def _graph_key(weights_digest: str) -> str:
    """Names a converted graph: it depends on the weights and on the code that defines the networks."""
    key = hashlib.sha256(weights_digest.encode())
    for source in (__file__, networks.__file__, base.__file__):
        key.update(Path(source).read_bytes())
    return key.hexdigest()[:16]


def _verified(path: Path) -> str:
    """SHA-256 of a weights file, after comparing it with the folder's checksums.json."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = json.loads((path.parent / "checksums.json").read_text())[path.name]
    except (OSError, ValueError, KeyError) as error:
        raise ParameterError("weights", str(path), f"cannot be read ({error}); reinstall driftcam") from None
    if digest != expected:
        raise ParameterError("weights", str(path), "the file is corrupt (checksum does not match); reinstall driftcam")
    return digest


@functools.lru_cache(maxsize=1)
def _predictor(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The style-vector network (Ghiasi et al., arXiv 1705.06830), run rarely and therefore in OpenVINO alone."""
    import openvino as ov

    path = folder / "style_vector.onnx"
    _verified(path)
    compiled = ov.Core().compile_model(path, "CPU")
    return lambda picture: compiled([picture])[0]
